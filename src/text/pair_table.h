// (left token, right token) -> the merge that joins them: a flat hash table, as merging does little but look
// here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gptq {

struct Merge {
  uint32_t rank;   // lower ranks are merged first
  int32_t joined;  // the token that the two become
};

class PairTable {
 public:
  // The later of two merges of one pair stays.
  void Insert(int32_t left, int32_t right, Merge merge) {
    if ((count_ + 1) * 2 > slots_.size()) Grow();
    Slot& slot = slots_[Index(Key(left, right))];
    if (slot.key == kEmpty) ++count_;
    slot = {Key(left, right), merge};
  }
  // Null if the two are never joined.
  const Merge* Find(int32_t left, int32_t right) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[Index(Key(left, right))];
    return slot.key == kEmpty ? nullptr : &slot.merge;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge{};
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // The slot of the key, or the empty one where it belongs.
  size_t Index(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask;
    while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }
  void Grow() {
    std::vector<Slot> old(slots_.empty() ? 1024 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[Index(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t count_ = 0;
};

}  // namespace gptq
