#include "base/hash.h"

#include <bit>
#include <cstdio>
#include <cstring>

namespace gptq {
namespace {

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio

// For each `word` a bijection of `hash`, and the other way round: no single change goes unseen.
uint64_t Mix(uint64_t hash, uint64_t word) { return std::rotl((hash ^ word) * kOdd, 29); }

uint64_t Finish(uint64_t hash) {
  hash = (hash ^ (hash >> 32)) * kOdd;
  return hash ^ (hash >> 29);
}

}  // namespace

uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed) {
  // Lanes that do not wait for each other.
  constexpr size_t kLanes = 4, kWord = sizeof(uint64_t);
  uint64_t lanes[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = seed + (i + 1) * kOdd;
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= kLanes * kWord; left -= kLanes * kWord, at += kLanes * kWord) {
    uint64_t words[kLanes];
    std::memcpy(words, at, sizeof(words));
    for (size_t i = 0; i < kLanes; ++i) lanes[i] = Mix(lanes[i], words[i]);
  }
  uint64_t hash = Mix(seed, bytes.size());
  for (const uint64_t lane : lanes) hash = Mix(hash, Finish(lane));
  for (; left > 0; --left, ++at) hash = Mix(hash, static_cast<uint64_t>(*at) + 1);
  return Finish(hash);
}

uint64_t HashText(std::string_view text, uint64_t seed) {
  return HashBytes(std::as_bytes(std::span<const char>(text)), seed);
}

std::string HashName(uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace gptq
