#include "workflow/sequence_scores.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "compute/tree_backend.h"

namespace gptq {
namespace {

using Group = std::vector<ScoredSequence>;

int64_t InputTokens(const ScoredSequence& sequence) { return static_cast<int64_t>(sequence.ids.size()) - 1; }

// Input tokens that all sequences of the group begin with.
int64_t SharedTokens(const Group& group) {
  const std::vector<int32_t>& first = group.front().ids;
  int64_t shared = InputTokens(group.front());
  for (const ScoredSequence& sequence : group) {
    const auto end = first.begin() + std::min(shared, InputTokens(sequence));
    shared = std::mismatch(first.begin(), end, sequence.ids.begin()).first - first.begin();
  }
  return shared;
}

int64_t Rows(const Group& group) {
  const int64_t shared = SharedTokens(group);
  int64_t rows = shared;
  for (const ScoredSequence& sequence : group) rows += InputTokens(sequence) - shared;
  return rows;
}

// Some groups in one pass through the model.
class Batch {
 public:
  Batch(const Decoder& decoder, std::span<const Group> groups, std::span<std::vector<SequenceScore>> scores)
      : decoder_(decoder) {
    for (const Group& group : groups) rows_ += Rows(group);
    hidden_ = Matrix(rows_, decoder.spec().hidden);
    for (size_t g = 0; g < groups.size(); ++g) AddGroup(groups[g], scores[g]);
  }

  void Run() {
    TreeBackend backend(decoder_.backend());
    backend.SetSegments(segments_);
    const Matrix hidden = decoder_.RunBlocks(backend, std::move(hidden_), longest_);
    std::vector<int64_t> rows;
    for (const auto& [row, targets] : targets_) rows.push_back(row);
    for (size_t at = 0; at < rows.size(); at += kLogitRows)
      ScoreRows(hidden, std::span(rows).subspan(at, std::min<size_t>(kLogitRows, rows.size() - at)));
  }

 private:
  struct Target {
    int32_t id;
    SequenceScore* score;
  };

  void AddGroup(const Group& group, std::vector<SequenceScore>& scores) {
    const int64_t shared = SharedTokens(group), trunk = next_row_;
    if (shared > 0) segments_.push_back({trunk, shared, 0, 0});
    next_row_ += shared;
    scores.assign(group.size(), {});
    for (size_t i = 0; i < group.size(); ++i) {
      const ScoredSequence& sequence = group[i];
      const int64_t tokens = InputTokens(sequence), own = tokens - shared, first = next_row_;
      longest_ = std::max(longest_, tokens);
      Embed(sequence, i == 0 ? 0 : shared, trunk, shared);
      if (own > 0) segments_.push_back({first, own, trunk, shared});
      next_row_ += own;
      for (int64_t t = sequence.scored_from - 1; t < tokens; ++t) {
        const int64_t row = t < shared ? trunk + t : first + t - shared;
        targets_[row].push_back({sequence.ids[static_cast<size_t>(t + 1)], &scores[i]});
      }
    }
  }

  // Positions [from, end) of the sequence, each to the row that it has.
  void Embed(const ScoredSequence& sequence, int64_t from, int64_t trunk, int64_t shared) {
    const int64_t tokens = InputTokens(sequence);
    Matrix embedded = decoder_.Embed(std::span(sequence.ids).first(static_cast<size_t>(tokens)), tokens);
    decoder_.backend().MakeReadable(embedded);
    const int64_t width = embedded.columns();
    for (int64_t t = from; t < tokens; ++t) {
      const int64_t row = t < shared ? trunk + t : next_row_ + t - shared;
      std::copy_n(embedded.data() + t * width, width, hidden_.data() + row * width);
    }
  }

  void ScoreRows(const Matrix& hidden, std::span<const int64_t> rows) {
    const auto count = static_cast<int64_t>(rows.size());
    Matrix gathered(count, hidden.columns());
    std::vector<int32_t> first_targets;
    for (int64_t r = 0; r < count; ++r) {
      const int64_t row = rows[static_cast<size_t>(r)];
      std::copy_n(hidden.data() + row * hidden.columns(), hidden.columns(),
                  gathered.data() + r * hidden.columns());
      first_targets.push_back(targets_.at(row).front().id);
    }
    Matrix logits = decoder_.Logits(gathered.view());
    decoder_.backend().MakeReadable(logits);
    std::vector<double> losses(rows.size());
    decoder_.backend().NegativeLogLikelihood(logits.view(), first_targets, losses);
    std::vector<int64_t> best(rows.size());
    decoder_.backend().pool().ParallelFor(count, [&](int64_t r) {
      const float* row = logits.data() + r * logits.columns();
      best[static_cast<size_t>(r)] = std::max_element(row, row + logits.columns()) - row;
    });
    for (size_t r = 0; r < rows.size(); ++r) {
      const float* row = logits.data() + static_cast<int64_t>(r) * logits.columns();
      const double log_sum = losses[r] + row[first_targets[r]];
      for (const Target& target : targets_.at(rows[r])) {
        target.score->log_likelihood += row[target.id] - log_sum;
        target.score->greedy &= best[r] == target.id;
        ++target.score->tokens;
      }
    }
  }

  const Decoder& decoder_;
  int64_t rows_ = 0, next_row_ = 0;
  int64_t longest_ = 0;  // sequence
  Matrix hidden_;        // before the first block
  std::vector<TreeSegment> segments_;
  std::map<int64_t, std::vector<Target>> targets_;  // by the row that predicts them
};

}  // namespace

ScoredSequence EncodePair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                          int64_t max_tokens, std::string_view where) {
  const std::vector<int32_t>& before = tokenizer.TemplateBefore();
  ScoredSequence sequence;
  const std::string whole = std::string(context).append(continuation);
  std::vector<int32_t> ids = tokenizer.Encode(whole);
  if (context.empty()) {
    const std::optional<int32_t> prefix = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!prefix)
      throw Error("a text without context needs a BOS or EOS token", where, "the tokenizer has none");
    sequence.ids = {*prefix};
    if (!ids.empty() && ids.front() == *prefix) ids.erase(ids.begin());
  } else {
    sequence.ids = before;
    const size_t end = context.find_last_not_of(" \t\r\n\v\f") + 1;
    sequence.scored_from =
        static_cast<int64_t>(before.size() + tokenizer.Encode(context.substr(0, end)).size());
  }
  sequence.ids.insert(sequence.ids.end(), ids.begin(), ids.end());
  const auto tokens = static_cast<int64_t>(sequence.ids.size());
  // Nothing stands before the very first token that could predict it.
  sequence.scored_from = std::max<int64_t>(sequence.scored_from, 1);
  const int64_t scored = tokens - sequence.scored_from;
  if (const int64_t dropped = tokens - (max_tokens + 1); dropped > 0) {
    sequence.ids.erase(sequence.ids.begin(), sequence.ids.begin() + dropped);
    sequence.scored_from -= dropped;
  }
  if (sequence.scored_from < 1) {
    throw Error(Concat("the part to be scored has ", scored, " tokens, the model's limit is ", max_tokens),
                where, "use a model with a longer context");
  }
  if (scored < 1)
    throw Error("the part to be scored has no token of its own", where, "leave the example out");
  return sequence;
}

std::vector<std::vector<SequenceScore>> ScoreSequences(const Decoder& decoder,
                                                       const std::vector<Group>& groups, int64_t max_rows,
                                                       const std::function<void(int64_t done)>& done) {
  decoder.spec().CheckPredictsNext();
  std::vector<std::vector<SequenceScore>> scores(groups.size());
  for (size_t begin = 0; begin < groups.size();) {
    size_t end = begin;
    for (int64_t rows = 0; end < groups.size(); ++end) {
      rows += Rows(groups[end]);
      if (end > begin && rows > max_rows) break;
    }
    Batch(decoder, std::span(groups).subspan(begin, end - begin),
          std::span(scores).subspan(begin, end - begin))
        .Run();
    begin = end;
    done(static_cast<int64_t>(end));
  }
  return scores;
}

}  // namespace gptq
