// Cuts text into the pieces inside which a tokenizer merges: stages, each cutting the pieces left by the one
// before.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace gptq {

// Consecutive pieces of one text; none is empty.
struct PieceList {
  std::string text;
  std::vector<size_t> ends;  // piece i = text[ends[i - 1], ends[i])

  size_t size() const { return ends.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(text).substr(begin, ends[i] - begin);
  }
  void Add(std::string_view piece) {
    if (piece.empty()) return;
    text.append(piece);
    ends.push_back(text.size());
  }
};

// GPT-2's pattern, which "use_regex" of a ByteLevel stage means.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Immutable. The default one leaves the text in one piece.
class PreTokenizer {
 public:
  PreTokenizer() = default;
  // From the `pre_tokenizer` of a tokenizer.json, null included. Throws Error naming a kind that is not
  // supported.
  PreTokenizer(const Json& description, std::string_view where);

  // `text` must be valid UTF-8. `at_start`: nothing, not even a special token, stands before it.
  PieceList Apply(std::string_view text, bool at_start) const;

 private:
  // Reads the pieces, returns finer or changed ones.
  using Stage = std::function<PieceList(const PieceList& pieces, bool at_start)>;
  void Add(const Json& description, std::string_view where);
  void AddSplit(const Json& description, std::string_view where);
  void AddByteLevel(const Json& description, std::string_view where);
  void AddMetaspace(const Json& description, std::string_view where);
  void AddByClass(const std::string& type, const Json& description, std::string_view where);

  std::vector<Stage> stages_;
};

}  // namespace gptq
