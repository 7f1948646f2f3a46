// Unicode text: UTF-8 in and out, normalization forms, and the few character classes that tokenizers name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gptq {

constexpr char32_t kReplacementCharacter = 0xFFFD;

struct CodePoint {
  char32_t value;  // kReplacementCharacter where `valid` is false
  size_t
      size;  // bytes; of an ill-formed sequence its longest prefix that could begin a character, at least 1
  bool valid;
};

// The character at `position` < text.size().
CodePoint DecodeUtf8(std::string_view text, size_t position);
void AppendUtf8(char32_t value, std::string& text);

bool IsAscii(std::string_view text);
bool IsValidUtf8(std::string_view text);
// U+FFFD for every ill-formed sequence (the Unicode standard's "maximal subparts", as Python and Rust do).
std::string ToValidUtf8(std::string_view text);
// Bytes at the end that begin a character but do not finish it: 0..3.
size_t IncompleteTail(std::string_view bytes);

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };
// `text` must be valid UTF-8.
std::string Normalize(std::string_view text, NormalizationForm form);
std::string LowerCase(std::string_view text);
std::string UpperCase(std::string_view text);  // character by character; \u00DF becomes SS

bool IsLetter(char32_t value);         // L*
bool IsUpperCase(char32_t value);      // Lu, Lt
bool IsLowerCase(char32_t value);      // Ll
bool IsNumeric(char32_t value);        // general categories Nd, Nl, No
bool IsPunctuation(char32_t value);    // P*, and ASCII's symbols
bool IsWhiteSpace(char32_t value);     // property White_Space
bool IsMark(char32_t value);           // Mn, Mc, Me
bool IsWordCharacter(char32_t value);  // letters, marks, numbers, connector punctuation

}  // namespace gptq
