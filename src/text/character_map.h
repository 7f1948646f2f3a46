// SentencePiece's precompiled character map: which short texts become which others (NFKC and more).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gptq {

// Immutable.
class CharacterMap {
 public:
  // The bytes of precompiled_charsmap: a double-array trie (darts-clone) and the texts that it points at.
  // Throws Error naming `where`.
  CharacterMap(std::string_view bytes, std::string_view where);

  // From the left, the longest text that the map knows is replaced; other characters stay. Valid UTF-8 both.
  std::string Apply(std::string_view text) const;

 private:
  struct Found {
    size_t size;
    size_t replacement;
  };
  std::optional<Found> LongestAt(std::string_view text, size_t position) const;

  std::vector<uint32_t> units_;
  std::string texts_;  // each ends with a zero
};

std::string DecodeBase64(std::string_view text, std::string_view where);
std::string EncodeBase64(std::string_view bytes);

}  // namespace gptq
