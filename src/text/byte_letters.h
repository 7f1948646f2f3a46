// GPT-2's letters for bytes: byte-level BPE writes every byte as one printable character, so that
// vocabularies are text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gptq {

// Bytes 21-7E, A1-AC and AE-FF stand for themselves; the other 68, in order, are U+0100, U+0101, ...
char32_t ByteLetter(uint8_t byte);
std::optional<uint8_t> ByteOfLetter(char32_t letter);

std::string BytesToLetters(std::string_view bytes);
// Absent if some character is no byte's letter.
std::optional<std::string> LettersToBytes(std::string_view letters);

}  // namespace gptq
