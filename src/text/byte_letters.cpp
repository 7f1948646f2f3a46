#include "text/byte_letters.h"

#include <array>

#include "text/unicode.h"

namespace gptq {
namespace {

constexpr char32_t kFirstLetter = 0x100;
constexpr char32_t kLetters = 0x144;  // letters lie below

constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char16_t, 256> MakeLetters() {
  std::array<char16_t, 256> letters{};
  char16_t next = kFirstLetter;
  for (unsigned byte = 0; byte < 256; ++byte)
    letters[byte] = StandsForItself(byte) ? static_cast<char16_t>(byte) : next++;
  return letters;
}

constexpr std::array<char16_t, 256> kLetterOfByte = MakeLetters();

constexpr std::array<int16_t, kLetters> MakeBytes() {
  std::array<int16_t, kLetters> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  for (int16_t byte = 0; byte < 256; ++byte) bytes[kLetterOfByte[static_cast<size_t>(byte)]] = byte;
  return bytes;
}

constexpr std::array<int16_t, kLetters> kByteOfLetter = MakeBytes();

}  // namespace

char32_t ByteLetter(uint8_t byte) { return kLetterOfByte[byte]; }

std::optional<uint8_t> ByteOfLetter(char32_t letter) {
  if (letter >= kLetters || kByteOfLetter[letter] < 0) return std::nullopt;
  return static_cast<uint8_t>(kByteOfLetter[letter]);
}

std::string BytesToLetters(std::string_view bytes) {
  std::string letters;
  letters.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) AppendUtf8(ByteLetter(static_cast<uint8_t>(byte)), letters);
  return letters;
}

std::optional<std::string> LettersToBytes(std::string_view letters) {
  std::string bytes;
  bytes.reserve(letters.size());
  for (size_t i = 0; i < letters.size();) {
    const CodePoint c = DecodeUtf8(letters, i);
    const std::optional<uint8_t> byte = c.valid ? ByteOfLetter(c.value) : std::nullopt;
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    i += c.size;
  }
  return bytes;
}

}  // namespace gptq
