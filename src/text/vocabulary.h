// The pieces of a tokenizer's model and their ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gptq {

// Token id -> text, and text -> id of those tokens that text is merged into. Movable, not copyable.
class Vocabulary {
 public:
  Vocabulary() = default;
  // `in_model[id]`: the token can come out of the model (added tokens that are cut out beforehand cannot;
  // empty: all can). Of equal tokens in the model the one with the lowest id is found. Ids without a token
  // have empty text.
  Vocabulary(std::vector<std::string> tokens, const std::vector<bool>& in_model);
  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary& operator=(Vocabulary&&) noexcept = default;

  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  const std::string& Text(int32_t id) const { return tokens_[static_cast<size_t>(id)]; }
  std::optional<int32_t> Find(std::string_view text) const;

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of tokens_
};

// The byte that a byte-fallback token such as "<0x0A>" stands for.
std::optional<uint8_t> ByteOfToken(std::string_view token);
std::string ByteToken(uint8_t byte);

}  // namespace gptq
