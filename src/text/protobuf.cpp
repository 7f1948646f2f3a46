#include "text/protobuf.h"

#include "base/error.h"

namespace gptq {

void ProtobufReader::Damaged() const {
  throw Error("not a SentencePiece model, or a damaged one", where_, "fetch the file again");
}

uint64_t ProtobufReader::Varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) Damaged();
    const auto byte = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  Damaged();
}

uint64_t ProtobufReader::Fixed(size_t size) {
  if (rest_.size() < size) Damaged();
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << (8 * i);
  rest_.remove_prefix(size);
  return value;
}

std::optional<ProtobufField> ProtobufReader::Next() {
  if (rest_.empty()) return std::nullopt;
  const uint64_t tag = Varint();
  if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) Damaged();
  ProtobufField field{static_cast<uint32_t>(tag >> 3), 0, {}, static_cast<ProtobufField::Wire>(tag & 7)};
  switch (field.wire) {
    case ProtobufField::Wire::kVarint:
      field.value = Varint();
      break;
    case ProtobufField::Wire::kFixed64:
      field.value = Fixed(8);
      break;
    case ProtobufField::Wire::kFixed32:
      field.value = Fixed(4);
      break;
    case ProtobufField::Wire::kBytes: {
      const uint64_t size = Varint();
      if (size > rest_.size()) Damaged();
      field.bytes = rest_.substr(0, static_cast<size_t>(size));
      rest_.remove_prefix(static_cast<size_t>(size));
      break;
    }
    default:
      Damaged();
  }
  return field;
}

}  // namespace gptq
