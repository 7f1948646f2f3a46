#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace gptq {
namespace {

struct LeadByte {
  size_t size;              // of the whole character; 0: no character begins so
  unsigned char low, high;  // bounds of the second byte (Unicode standard, table 3-7)
};

LeadByte Lead(unsigned char byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0)
    return {3, byte == 0xE0 ? uint8_t{0xA0} : uint8_t{0x80}, byte == 0xED ? uint8_t{0x9F} : uint8_t{0xBF}};
  if (byte < 0xF5)
    return {4, byte == 0xF0 ? uint8_t{0x90} : uint8_t{0x80}, byte == 0xF4 ? uint8_t{0x8F} : uint8_t{0xBF}};
  return {0, 0, 0};
}

utf8proc_category_t Category(char32_t value) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(value));
}

}  // namespace

CodePoint DecodeUtf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  if (byte(0) < 0x80) return {byte(0), 1, true};
  const LeadByte lead = Lead(byte(0));
  if (lead.size == 0) return {kReplacementCharacter, 1, false};
  char32_t value = byte(0) & (0xFFu >> (lead.size + 1));
  for (size_t i = 1; i < lead.size; ++i) {
    if (position + i >= text.size()) return {kReplacementCharacter, i, false};
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {kReplacementCharacter, i, false};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  return {value, lead.size, true};
}

void AppendUtf8(char32_t value, std::string& text) {
  const auto put = [&](char32_t bits) {
    text.push_back(static_cast<char>(static_cast<unsigned char>(bits)));
  };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | value >> 18);
    put(0x80 | (value >> 12 & 0x3F));
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool IsValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeUtf8(text, i);
    if (!c.valid) return false;
    i += c.size;
  }
  return true;
}

std::string ToValidUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeUtf8(text, i);
    if (c.valid) {
      result.append(text.substr(i, c.size));
    } else {
      AppendUtf8(kReplacementCharacter, result);
    }
    i += c.size;
  }
  return result;
}

size_t IncompleteTail(std::string_view bytes) {
  for (size_t length = 1; length <= std::min<size_t>(3, bytes.size()); ++length) {
    const size_t start = bytes.size() - length;
    const auto byte = static_cast<unsigned char>(bytes[start]);
    if ((byte & 0xC0) == 0x80) continue;
    const CodePoint c = DecodeUtf8(bytes, start);
    return !c.valid && c.size == length && Lead(byte).size > length ? length : 0;
  }
  return 0;
}

std::string Normalize(std::string_view text, NormalizationForm form) {
  if (IsAscii(text)) return std::string(text);
  int options = UTF8PROC_STABLE;
  const bool compose = form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
  options |= compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result,
                                             static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  if (size < 0)
    throw Error(Concat("Unicode normalization failed: ", utf8proc_errmsg(size)), "text", "give shorter text");
  return std::string(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
}

std::string LowerCase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeUtf8(text, i);
    if (c.value == 0x130) {  // the one letter whose lower case is two characters
      result += "i\xCC\x87";
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))), result);
    }
    i += c.size;
  }
  return result;
}

std::string UpperCase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeUtf8(text, i);
    if (c.value == 0xDF) {
      result += "SS";
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c.value))), result);
    }
    i += c.size;
  }
  return result;
}

bool IsLetter(char32_t value) {
  const utf8proc_category_t category = Category(value);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsUpperCase(char32_t value) {
  const utf8proc_category_t category = Category(value);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT;
}

bool IsLowerCase(char32_t value) { return Category(value) == UTF8PROC_CATEGORY_LL; }

bool IsNumeric(char32_t value) {
  if (value < 0x80) return value >= '0' && value <= '9';
  const utf8proc_category_t category = Category(value);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsPunctuation(char32_t value) {
  if (value < 0x80) {
    return (value > ' ' && value < '0') || (value > '9' && value < 'A') || (value > 'Z' && value < 'a') ||
           (value > 'z' && value < 0x7F);
  }
  const utf8proc_category_t category = Category(value);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsWhiteSpace(char32_t value) {
  if (value < 0x80) return value == ' ' || (value >= 9 && value <= 13);
  if (value == 0x85) return true;
  const utf8proc_category_t category = Category(value);
  return category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP;
}

bool IsMark(char32_t value) {
  const utf8proc_category_t category = Category(value);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool IsWordCharacter(char32_t value) {
  const utf8proc_category_t category = Category(value);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO) ||
         category == UTF8PROC_CATEGORY_PC;
}

}  // namespace gptq
