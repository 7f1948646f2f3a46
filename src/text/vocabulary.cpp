#include "text/vocabulary.h"

#include <utility>

namespace gptq {
namespace {

constexpr std::string_view kHexDigits = "0123456789ABCDEF";

}  // namespace

Vocabulary::Vocabulary(std::vector<std::string> tokens, const std::vector<bool>& in_model)
    : tokens_(std::move(tokens)) {
  ids_.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const bool findable = !tokens_[id].empty() && (in_model.empty() || in_model[id]);
    if (findable) ids_.emplace(tokens_[id], static_cast<int32_t>(id));
  }
}

std::optional<int32_t> Vocabulary::Find(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<uint8_t> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const size_t high = kHexDigits.find(token[3]);
  const size_t low = kHexDigits.find(token[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<uint8_t>(high << 4 | low);
}

std::string ByteToken(uint8_t byte) {
  return {'<', '0', 'x', kHexDigits[byte >> 4], kHexDigits[byte & 15], '>'};
}

}  // namespace gptq
