// Tokens that are recognised in text as a whole, before anything is merged: special tokens and other added
// ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gptq {

struct AddedToken {
  int32_t id = 0;
  std::string content = "";
  bool special = false;      // structure rather than text: BOS, end of turn ...
  bool normalized = false;   // looked for in the normalized text, not in the raw one
  bool single_word = false;  // only between characters that are not part of words
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // ... and behind it
  std::string sought = "";   // with `normalized`: what to look for; empty: the content, normalized
};

// A part of a text: an added token, or (id < 0) text between two of them.
struct Segment {
  std::string_view text;
  int32_t id;
};

// Finds the leftmost tokens, of those that begin at one place the longest. Immutable.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // The parts of `text`, in order, none of text empty. `with_special` false: special tokens are plain text.
  std::vector<Segment> Split(std::string_view text, bool with_special) const;

 private:
  static constexpr int32_t kNone = -1;
  struct Found {
    size_t size;
    int32_t token;  // index into tokens_, or kNone
  };
  Found LongestAt(std::string_view text, size_t position, bool with_special) const;
  int32_t Child(int32_t node, unsigned char byte) const;

  std::vector<AddedToken> tokens_;
  // A trie over bytes: (node << 8 | byte) -> node; the root's children apart, as most text ends the search
  // there.
  std::unordered_map<uint64_t, int32_t> children_;
  std::vector<int32_t> first_;     // [256], or empty without tokens
  std::vector<int32_t> token_at_;  // node -> token that ends there
};

}  // namespace gptq
