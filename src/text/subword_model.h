// What turns a piece of text into tokens. BPE now; others (unigram) implement the same interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gptq {

// Words already encoded, for one call at a time: text repeats itself.
class WordCache {
 public:
  // Appends the known ids of `word`, or returns false.
  bool Append(std::string_view word, std::vector<int32_t>& ids) const {
    const auto it = words_.find(word);
    if (it == words_.end()) return false;
    const auto begin = ids_.begin() + static_cast<ptrdiff_t>(it->second.begin);
    ids.insert(ids.end(), begin, begin + static_cast<ptrdiff_t>(it->second.count));
    return true;
  }
  // The ids of `word` are those from `begin` on.
  void Remember(std::string_view word, const std::vector<int32_t>& ids, size_t begin) {
    words_.emplace(std::string(word), Entry{ids_.size(), ids.size() - begin});
    ids_.insert(ids_.end(), ids.begin() + static_cast<ptrdiff_t>(begin), ids.end());
  }

 private:
  struct Entry {
    size_t begin;
    size_t count;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> words_;
  std::vector<int32_t> ids_;
};

class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  // Appends the tokens of `piece` (valid UTF-8, not empty).
  virtual void Encode(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const = 0;
};

}  // namespace gptq
