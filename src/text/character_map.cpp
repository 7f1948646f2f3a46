#include "text/character_map.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "text/unicode.h"

namespace gptq {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kDamaged = "fetch the file again";

// The fields of a unit.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7fffffff; }
uint32_t Label(uint32_t unit) { return unit & 0x800000ff; }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

CharacterMap::CharacterMap(std::string_view bytes, std::string_view where) {
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof(trie_bytes)) throw Error("a character map that is too short", where, kDamaged);
  std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  bytes.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes == 0 || trie_bytes > bytes.size() || trie_bytes % sizeof(uint32_t) != 0)
    throw Error(Concat("a character map with a trie of ", trie_bytes, " bytes"), where, kDamaged);
  units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), bytes.data(), trie_bytes);
  texts_ = bytes.substr(trie_bytes);
  if (!texts_.ends_with('\0')) texts_ += '\0';
}

std::optional<CharacterMap::Found> CharacterMap::LongestAt(std::string_view text, size_t position) const {
  std::optional<Found> longest;
  uint32_t node = Offset(units_[0]);
  for (size_t i = position; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (node >= units_.size()) break;
    if (!HasLeaf(unit)) continue;
    const uint32_t replacement = Value(units_[node]);
    const size_t size = i + 1 - position;
    const bool whole = i + 1 == text.size() || (text[i + 1] & 0xC0) != 0x80;  // no part of a character
    if (whole && replacement < texts_.size()) longest = Found{size, replacement};
  }
  return longest;
}

std::string CharacterMap::Apply(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (const auto found = LongestAt(text, at)) {
      result += texts_.c_str() + found->replacement;
      at += found->size;
    } else {
      const size_t size = DecodeUtf8(text, at).size;
      result.append(text.substr(at, size));
      at += size;
    }
  }
  return IsValidUtf8(result) ? result : ToValidUtf8(result);
}

std::string DecodeBase64(std::string_view text, std::string_view where) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, std::min(text.find('='), text.size()))) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) throw Error("text that is not base64", where, kDamaged);
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

std::string EncodeBase64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : kAlphabet[bits >> (18 - 6 * k) & 63];
  }
  return text;
}

}  // namespace gptq
