// The loop of BPE: joins neighbouring symbols in the order of their merges' ranks, leftmost first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/pair_table.h"

namespace gptq {

// A token inside a piece. Negative ids are never joined.
struct Symbol {
  int32_t id;
  uint32_t begin;  // bytes of the piece that it covers
  uint32_t size;
};

// Until no neighbours can be joined. O(n log n) for n symbols; a plain scan for short pieces.
void MergeSymbols(const PairTable& merges, std::vector<Symbol>& symbols);

// The two ways, which give the same symbols.
void MergeByScan(const PairTable& merges, std::vector<Symbol>& symbols);
void MergeByHeap(const PairTable& merges, std::vector<Symbol>& symbols);

}  // namespace gptq
