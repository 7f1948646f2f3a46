// Reads the wire format of protocol buffers, field by field, with every length checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace gptq {

struct ProtobufField {
  uint32_t number;
  // Varint and fixed fields: the value (fixed32 as its 32 bits); length-delimited ones: 0.
  uint64_t value;
  std::string_view bytes;  // length-delimited fields
  enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 } wire;
};

class ProtobufReader {
 public:
  // The bytes must outlive the reader and its fields.
  ProtobufReader(std::string_view bytes, std::string_view where) : rest_(bytes), where_(where) {}
  // Absent at the end. Throws Error where the bytes are no message.
  std::optional<ProtobufField> Next();

 private:
  [[noreturn]] void Damaged() const;
  uint64_t Varint();
  uint64_t Fixed(size_t size);

  std::string_view rest_;
  std::string_view where_;
};

}  // namespace gptq
