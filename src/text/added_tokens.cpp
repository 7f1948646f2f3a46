#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"

namespace gptq {
namespace {

// Position of the first byte of the character before `position` > 0.
size_t PreviousCharacter(std::string_view text, size_t position) {
  size_t start = position - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return start;
}

bool IsSingleWord(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && IsWordCharacter(DecodeUtf8(text, PreviousCharacter(text, begin)).value)) return false;
  return end >= text.size() || !IsWordCharacter(DecodeUtf8(text, end).value);
}

size_t SkipSpacesBack(std::string_view text, size_t begin, size_t lowest) {
  while (begin > lowest) {
    const size_t previous = PreviousCharacter(text, begin);
    if (previous < lowest || !IsWhiteSpace(DecodeUtf8(text, previous).value)) break;
    begin = previous;
  }
  return begin;
}

size_t SkipSpaces(std::string_view text, size_t end) {
  while (end < text.size()) {
    const CodePoint c = DecodeUtf8(text, end);
    if (!IsWhiteSpace(c.value)) break;
    end += c.size;
  }
  return end;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  if (tokens_.empty()) return;
  first_.assign(256, kNone);
  token_at_.push_back(kNone);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    int32_t node = 0;
    for (const char c : tokens_[i].content) {
      const auto byte = static_cast<unsigned char>(c);
      int32_t next = Child(node, byte);
      if (next == kNone) {
        next = static_cast<int32_t>(token_at_.size());
        token_at_.push_back(kNone);
        if (node == 0) {
          first_[byte] = next;
        } else {
          children_.emplace(static_cast<uint64_t>(node) << 8 | byte, next);
        }
      }
      node = next;
    }
    if (token_at_[static_cast<size_t>(node)] == kNone)
      token_at_[static_cast<size_t>(node)] = static_cast<int32_t>(i);
  }
}

int32_t AddedTokenMatcher::Child(int32_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  const auto it = children_.find(static_cast<uint64_t>(node) << 8 | byte);
  return it == children_.end() ? kNone : it->second;
}

AddedTokenMatcher::Found AddedTokenMatcher::LongestAt(std::string_view text, size_t position,
                                                      bool with_special) const {
  Found found{0, kNone};
  int32_t node = 0;
  for (size_t i = position; i < text.size(); ++i) {
    node = Child(node, static_cast<unsigned char>(text[i]));
    if (node == kNone) break;
    const int32_t token = token_at_[static_cast<size_t>(node)];
    if (token == kNone || (tokens_[static_cast<size_t>(token)].special && !with_special)) continue;
    found = {i + 1 - position, token};
  }
  return found;
}

std::vector<Segment> AddedTokenMatcher::Split(std::string_view text, bool with_special) const {
  std::vector<Segment> segments;
  size_t done = 0;
  for (size_t i = 0; !tokens_.empty() && i < text.size();) {
    const Found found = LongestAt(text, i, with_special);
    if (found.token == kNone) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found.token)];
    size_t begin = i;
    size_t end = i + found.size;
    i = end;
    if (token.single_word && !IsSingleWord(text, begin, end)) continue;
    if (token.lstrip) begin = SkipSpacesBack(text, begin, done);
    if (token.rstrip) end = SkipSpaces(text, end);
    if (begin > done) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
    i = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
  return segments;
}

}  // namespace gptq
