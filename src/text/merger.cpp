#include "text/merger.h"

#include <algorithm>
#include <queue>
#include <tuple>

namespace gptq {
namespace {

constexpr size_t kScanAtMost = 32;  // symbols
constexpr uint32_t kNone = UINT32_MAX;

// A merge that was possible when it was found.
struct Candidate {
  uint32_t rank;
  uint32_t position;  // of its left symbol
  int32_t left;
  int32_t right;
  int32_t joined;
};

struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return std::tie(a.rank, a.position) > std::tie(b.rank, b.position);
  }
};

class HeapMerger {
 public:
  HeapMerger(const PairTable& merges, std::vector<Symbol>& symbols) : merges_(merges), symbols_(symbols) {
    const auto count = static_cast<uint32_t>(symbols.size());
    next_.resize(count);
    previous_.resize(count);
    std::vector<Candidate> found;
    for (uint32_t i = 0; i < count; ++i) {
      next_[i] = i + 1 < count ? i + 1 : kNone;
      previous_[i] = i > 0 ? i - 1 : kNone;
      if (i + 1 < count) AddCandidate(i, found);
    }
    queue_ = Queue(Later(), std::move(found));
  }

  void Run() {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const uint32_t right = next_[best.position];
      const bool stale =
          right == kNone || symbols_[best.position].id != best.left || symbols_[right].id != best.right;
      if (!stale) Join(best, right);
    }
    std::erase_if(symbols_, [](const Symbol& symbol) { return symbol.size == 0; });
  }

 private:
  using Queue = std::priority_queue<Candidate, std::vector<Candidate>, Later>;

  template <typename Sink>
  void AddCandidate(uint32_t position, Sink& sink) {
    const int32_t left = symbols_[position].id;
    const int32_t right = symbols_[next_[position]].id;
    if (const Merge* merge = merges_.Find(left, right)) {
      const Candidate candidate{merge->rank, position, left, right, merge->joined};
      if constexpr (requires { sink.push_back(candidate); }) {
        sink.push_back(candidate);
      } else {
        sink.push(candidate);
      }
    }
  }

  void Join(const Candidate& best, uint32_t right) {
    Symbol& left = symbols_[best.position];
    left.id = best.joined;
    left.size += symbols_[right].size;
    symbols_[right].size = 0;
    symbols_[right].id = -1;
    const uint32_t after = next_[right];
    next_[right] = kNone;
    next_[best.position] = after;
    if (after != kNone) {
      previous_[after] = best.position;
      AddCandidate(best.position, queue_);
    }
    if (previous_[best.position] != kNone) AddCandidate(previous_[best.position], queue_);
  }

  const PairTable& merges_;
  std::vector<Symbol>& symbols_;
  std::vector<uint32_t> next_;      // position -> position of the symbol behind, or kNone
  std::vector<uint32_t> previous_;  // ... before
  Queue queue_;
};

}  // namespace

void MergeByScan(const PairTable& merges, std::vector<Symbol>& symbols) {
  std::vector<const Merge*> with_next(symbols.size(), nullptr);
  const auto look = [&](size_t i) {
    with_next[i] = i + 1 < symbols.size() ? merges.Find(symbols[i].id, symbols[i + 1].id) : nullptr;
  };
  for (size_t i = 0; i < symbols.size(); ++i) look(i);
  while (true) {
    size_t best = symbols.size();
    for (size_t i = 0; i < symbols.size(); ++i) {
      if (with_next[i] && (best == symbols.size() || with_next[i]->rank < with_next[best]->rank)) best = i;
    }
    if (best == symbols.size()) return;
    symbols[best].id = with_next[best]->joined;
    symbols[best].size += symbols[best + 1].size;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    with_next.erase(with_next.begin() + static_cast<ptrdiff_t>(best) + 1);
    look(best);
    if (best > 0) look(best - 1);
  }
}

void MergeByHeap(const PairTable& merges, std::vector<Symbol>& symbols) {
  if (symbols.size() > 1) HeapMerger(merges, symbols).Run();
}

void MergeSymbols(const PairTable& merges, std::vector<Symbol>& symbols) {
  if (symbols.size() <= kScanAtMost) {
    MergeByScan(merges, symbols);
  } else {
    MergeByHeap(merges, symbols);
  }
}

}  // namespace gptq
