// Tokens back to text: what a tokenizer.json's "decoder" says, and decoding piece by piece for streaming.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace gptq {

// Every token becomes bytes, whatever its neighbours; the bytes of all tokens, joined, are the text. Only the
// start of the text is special.
class TokenDecoder {
 public:
  TokenDecoder() : TokenDecoder(Json(), "") {}
  // From the `decoder` of a tokenizer.json; null puts spaces between tokens. Throws Error naming a kind that
  // is not supported.
  TokenDecoder(const Json& description, std::string_view where);

  enum class Kind { kModel, kAdded, kSpecial };
  // Bytes that the token adds to the text, not always whole characters. `first`: no token stands before it.
  std::string Bytes(std::string_view token, Kind kind, bool first) const;
  // So many of these characters go at the start of the whole text.
  std::pair<char, size_t> stripped() const { return {strip_, strip_most_}; }

 private:
  void Add(const Json& description, std::string_view where);
  void AddStrip(const Json& description, std::string_view where);

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool spaced_ = false;  // no decoder: tokens apart
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string dropped_in_first_;  // Metaspace: this sign vanishes in the first token
  char strip_ = ' ';
  size_t strip_most_ = 0;
};

}  // namespace gptq
