#include "workflow/bit_allocation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/gguf_block.h"
#include "quant/gguf_tile.h"
#include "quant/hessian.h"
#include "quant/solve_matrix.h"
#include "quant/stored_matrix.h"
#include "workflow/stage_statistics.h"

namespace gptq {
namespace {

constexpr int64_t kCalibrationTokens = 8192;
constexpr int64_t kProbeSequences = 16;  // many texts: what a stage is worth differs among them
constexpr int64_t kProbeTokens = 64;
constexpr int64_t kFirstCompared = 8;  // of a sequence: one in a thousand of a text's tokens is its first
constexpr int64_t kSampledRows = 128;  // of a linear, for the losses of the choices
constexpr int64_t kErrorRows = 64;

// What is known of a stage.
struct MeasuredStage {
  std::vector<std::string> names;
  double weights = 0;
  std::vector<double> bits, losses;  // of each choice
  double probe_loss = 0;
  std::vector<double> divergences;  // by the probe, of each text
};

[[noreturn]] void RefuseTarget(const AllocationOptions& options, double least) {
  throw UsageError(Concat("--target-bits ", options.target_bits, ": at least ", least,
                          " bits per weight are needed, scales and zeros counted"));
}

// Rows of a matrix, evenly spread.
std::vector<float> SampleRows(const std::vector<float>& values, int64_t rows, int64_t columns,
                              int64_t count) {
  std::vector<float> sampled(static_cast<size_t>(count * columns));
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(values.data() + i * rows / count * columns, columns, sampled.data() + i * columns);
  }
  return sampled;
}

Matrix CopyOf(Backend& backend, const Matrix& x) {
  Matrix copy(x.rows(), x.columns(), backend.memory());
  backend.Copy(x.view(), copy.view());
  return copy;
}

class Allocator {
 public:
  Allocator(const AllocationOptions& options, const CalibrationSet& samples, Decoder& decoder,
            Progress& progress)
      : options_(options),
        samples_(samples),
        decoder_(decoder),
        backend_(decoder.backend()),
        progress_(progress) {}

  std::map<std::string, LinearChoice> Run();

 private:
  void Start();
  Hessian SumHessian(const Block& block, size_t stage, size_t group);
  void MeasureStage(int64_t block, size_t stage);
  void MeasureLinear(const LinearLayer& linear, const Hessian& sums, MeasuredStage& stage,
                     std::vector<StoredMatrix>& probes);
  std::vector<double> Divergences(int64_t block, size_t stage, std::vector<StoredMatrix> weights);
  std::vector<size_t> EligibleChoices(double budget) const;
  std::map<std::string, LinearChoice> Choose() const;

  const AllocationOptions& options_;
  const CalibrationSet& samples_;
  Decoder& decoder_;
  Backend& backend_;
  Progress& progress_;
  std::vector<BlockState> states_;  // of the calibration tokens
  BlockState probe_;                // of the tokens whose predictions are compared
  Matrix reference_;                // their logits
  std::vector<MeasuredStage> stages_;
};

void Allocator::Start() {
  const int64_t length = samples_.tokens_per_sample;
  const int64_t count = std::clamp<int64_t>(kCalibrationTokens / length, 1, samples_.samples);
  for (int64_t i = 0; i < count; ++i) {
    const std::span<const int32_t> ids(samples_.ids.data() + i * length, static_cast<size_t>(length));
    states_.push_back({1, length, decoder_.Embed(ids, length), {}});
  }
  if (!samples_.sinks.empty()) {
    states_.push_back(
        {static_cast<int64_t>(samples_.sinks.size()), 1, decoder_.Embed(samples_.sinks, 1), {}});
  }
  // Evenly spread over the samples.
  std::vector<int32_t> ids;
  const int64_t tokens = std::min(kProbeTokens, length);
  const int64_t sequences = std::min(kProbeSequences, samples_.samples);
  for (int64_t i = 0; i < sequences; ++i) {
    const auto first = samples_.ids.begin() + i * samples_.samples / sequences * length;
    ids.insert(ids.end(), first, first + tokens);
  }
  probe_ = {sequences, tokens, decoder_.Embed(ids, tokens), {}};
  reference_ = decoder_.Logits(decoder_.Run(ids, tokens).view());
}

// How far the predictions of each text move, in nats per token, when this stage alone has these weights.
std::vector<double> Allocator::Divergences(int64_t index, size_t stage, std::vector<StoredMatrix> weights) {
  std::vector<Block>& blocks = decoder_.blocks();
  std::vector<LinearLayer>& linears = blocks[static_cast<size_t>(index)].stages()[stage].linears;
  std::vector<Weight> originals;
  for (size_t i = 0, next = 0; i < linears.size(); ++i) {
    if (!options_.wanted(linears[i].name)) continue;
    originals.push_back(
        std::exchange(linears[i].weight, ToWeight(std::move(weights[next++]), backend_.pool())));
  }
  BlockState state{probe_.sequences, probe_.tokens, CopyOf(backend_, probe_.hidden),
                   CopyOf(backend_, probe_.input)};
  const Block& block = blocks[static_cast<size_t>(index)];
  for (size_t s = stage; s < block.stages().size(); ++s)
    block.Advance(backend_, s, decoder_.positions(), state);
  for (size_t i = 0, next = 0; i < linears.size(); ++i) {
    if (options_.wanted(linears[i].name)) linears[i].weight = std::move(originals[next++]);
  }
  for (size_t b = static_cast<size_t>(index) + 1; b < blocks.size(); ++b) {
    blocks[b].Forward(backend_, decoder_.positions(), state);
    if (options_.passed) options_.passed();
  }
  const int64_t rows = state.hidden.rows(), first = std::min(kFirstCompared, probe_.tokens - 1);
  const auto compared = static_cast<double>(probe_.tokens - first);
  std::vector<double> means(static_cast<size_t>(probe_.sequences));
  for (int64_t row = 0; row < rows; row += kErrorRows) {
    const int64_t count = std::min(kErrorRows, rows - row);
    Matrix logits = decoder_.Logits(state.hidden.view().Rows(row, count));
    std::vector<LogitDifference> differences(static_cast<size_t>(count));
    backend_.CompareLogits(reference_.view().Rows(row, count), logits.view(), differences);
    for (int64_t i = 0; i < count; ++i) {
      if ((row + i) % probe_.tokens < first) continue;
      means[static_cast<size_t>((row + i) / probe_.tokens)] +=
          differences[static_cast<size_t>(i)].divergence / compared;
    }
  }
  return means;
}

// Adds the losses of all choices, and the bits they take; solves it whole as the probe wants it.
void Allocator::MeasureLinear(const LinearLayer& linear, const Hessian& sums, MeasuredStage& stage,
                              std::vector<StoredMatrix>& probes) {
  const int64_t rows = linear.weight.rows(), columns = linear.weight.columns();
  std::vector<float> values(static_cast<size_t>(rows * columns));
  linear.weight.ReadRows(0, rows, values.data());
  const HessianView hessian = sums.view();
  // An expert that no token goes to has nothing to be solved with.
  const Method method = sums.tokens > 0 ? Method::kGptq : Method::kRoundToNearest;
  const int64_t count = std::min(rows, kSampledRows);
  const std::vector<float> sampled = SampleRows(values, rows, columns, count);
  for (size_t c = 0; c < options_.choices.size(); ++c) {
    const SolverOptions solver = options_.choices[c].Solver(columns, options_.solver);
    const MatrixSolution solution = SolveMatrix(ConstMatrix(sampled.data(), count, columns), hessian, method,
                                                solver, linear.name, backend_.pool());
    stage.losses[c] += solution.loss * static_cast<double>(rows) / static_cast<double>(count);
    stage.bits[c] += StoredBits(rows, columns, solver);
  }
  const SolverOptions solver = options_.probe.Solver(columns, options_.solver);
  MatrixSolution solution = SolveMatrix(ConstMatrix(values.data(), rows, columns), hessian, method, solver,
                                        linear.name, backend_.pool());
  stage.probe_loss += solution.loss;
  probes.push_back(ToStoredMatrix(std::move(solution.result), solver, linear.name));
  stage.names.push_back(linear.name);
  stage.weights += static_cast<double>(rows) * static_cast<double>(columns);
}

// Of what a group reads in all calibration sequences.
Hessian Allocator::SumHessian(const Block& block, size_t stage, size_t group) {
  const LinearGroup& linears = block.stages()[stage].groups[group];
  HessianAccumulator accumulator(block.stages()[stage].linears[linears.first].weight.columns());
  for (const BlockState& state : states_) {
    const std::optional<std::vector<int32_t>> rows = block.GroupRows(backend_, stage, state)[group];
    if (rows && rows->empty()) continue;
    const MatrixView input = block.GroupInput(backend_, stage, group, state, rows ? &*rows : nullptr);
    Matrix copy;
    accumulator.Add(backend_.Readable(input, copy).data, input.rows, input.columns, backend_.pool());
  }
  return accumulator.Finish(backend_.pool());
}

void Allocator::MeasureStage(int64_t index, size_t stage_index) {
  const Block& block = decoder_.blocks()[static_cast<size_t>(index)];
  const Stage& stage = block.stages()[stage_index];
  const auto advance = [&](BlockState& state) {
    if (stage_index == 0) {
      block.Begin(backend_, state);
    } else {
      block.Advance(backend_, stage_index - 1, decoder_.positions(), state);
    }
  };
  for (BlockState& state : states_) advance(state);
  advance(probe_);
  MeasuredStage found;
  found.bits.resize(options_.choices.size());
  found.losses.resize(options_.choices.size());
  std::vector<StoredMatrix> probes;
  for (const StatisticsUnit& unit : StatisticsUnits(stage, /*all_tokens=*/false, options_.wanted)) {
    const size_t group = unit.groups.front();
    const Hessian hessian = SumHessian(block, stage_index, group);
    for (size_t i = 0; i < stage.groups[group].count; ++i) {
      const LinearLayer& linear = stage.linears[stage.groups[group].first + i];
      progress_.Step(index);  // the user may stop it here
      if (options_.wanted(linear.name)) MeasureLinear(linear, hessian, found, probes);
    }
  }
  if (found.names.empty()) return;
  found.divergences = Divergences(index, stage_index, std::move(probes));
  stages_.push_back(std::move(found));
}

// Those of at least as many bits as all linears could have alike.
std::vector<size_t> Allocator::EligibleChoices(double budget) const {
  const auto width = [&](size_t c) {
    return options_.choices[c].Solver(kMostBlockColumns, options_.solver).bits;
  };
  int least = 0;
  for (size_t c = 0; c < options_.choices.size(); ++c) {
    double bits = 0;
    for (const MeasuredStage& stage : stages_) bits += stage.bits[c];
    if (bits <= budget) least = std::max(least, width(c));
  }
  std::vector<size_t> eligible;
  for (size_t c = 0; c < options_.choices.size(); ++c) {
    if (width(c) >= least) eligible.push_back(c);
  }
  return eligible;
}

std::map<std::string, LinearChoice> Allocator::Choose() const {
  double weights = 0, least = 0;
  for (const MeasuredStage& stage : stages_) {
    weights += stage.weights;
    least += std::ranges::min(stage.bits);
  }
  const double budget = options_.target_bits * weights;
  const std::vector<size_t> eligible = EligibleChoices(budget);
  std::vector<std::vector<double>> divergences;
  for (const MeasuredStage& stage : stages_) divergences.push_back(stage.divergences);
  const std::vector<double> sensitivities = MeanShares(divergences);
  std::vector<std::vector<StageCandidate>> candidates(stages_.size());
  for (size_t s = 0; s < stages_.size(); ++s) {
    const double probe_loss = stages_[s].probe_loss;
    for (const size_t c : eligible) {
      const double loss = probe_loss > 0 ? stages_[s].losses[c] / probe_loss : 0;
      candidates[s].push_back({stages_[s].bits[c], sensitivities[s] * loss});
    }
  }
  const std::vector<size_t> chosen = ChooseUnderBudget(candidates, budget);
  if (chosen.empty() && !stages_.empty()) RefuseTarget(options_, least / weights);
  std::map<std::string, LinearChoice> choices;
  for (size_t s = 0; s < stages_.size(); ++s) {
    for (const std::string& name : stages_[s].names) choices[name] = options_.choices[eligible[chosen[s]]];
  }
  return choices;
}

std::map<std::string, LinearChoice> Allocator::Run() {
  CheckTargetBits(options_, decoder_);
  Start();
  const auto blocks = static_cast<int64_t>(decoder_.blocks().size());
  progress_.Stage("measure sensitivities", blocks);
  for (int64_t index = 0; index < blocks; ++index) {
    const Block& block = decoder_.blocks()[static_cast<size_t>(index)];
    const size_t last = block.stages().size() - 1;
    for (size_t stage = 0; stage <= last; ++stage) MeasureStage(index, stage);
    for (BlockState& state : states_) block.Advance(backend_, last, decoder_.positions(), state);
    block.Advance(backend_, last, decoder_.positions(), probe_);
    progress_.Step(index + 1);
  }
  return Choose();
}

// The candidates on the lower convex hull of divergence over bits, by rising bits.
std::vector<size_t> LowerHull(const std::vector<StageCandidate>& candidates) {
  std::vector<size_t> order(candidates.size()), hull;
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return std::pair(candidates[a].bits, candidates[a].divergence) <
           std::pair(candidates[b].bits, candidates[b].divergence);
  });
  const auto slope = [&](size_t a, size_t b) {
    return (candidates[b].divergence - candidates[a].divergence) / (candidates[b].bits - candidates[a].bits);
  };
  for (const size_t i : order) {
    if (!hull.empty() && candidates[i].divergence >= candidates[hull.back()].divergence) continue;
    while (hull.size() > 1 && slope(hull.back(), i) <= slope(hull[hull.size() - 2], hull.back()))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

}  // namespace

void CheckTargetBits(const AllocationOptions& options, Decoder& decoder) {
  double weights = 0, least = 0;
  for (const Block& block : decoder.blocks()) {
    for (const Stage& stage : block.stages()) {
      std::vector<double> bits(options.choices.size());
      for (const LinearLayer& linear : stage.linears) {
        if (!options.wanted(linear.name)) continue;
        const int64_t rows = linear.weight.rows(), columns = linear.weight.columns();
        weights += static_cast<double>(rows) * static_cast<double>(columns);
        for (size_t c = 0; c < bits.size(); ++c)
          bits[c] += StoredBits(rows, columns, options.choices[c].Solver(columns, options.solver));
      }
      least += std::ranges::min(bits);
    }
  }
  if (least > options.target_bits * weights) RefuseTarget(options, least / weights);
}

SolverOptions LinearChoice::Solver(int64_t columns, SolverOptions solver) const {
  if (type) {
    SetGgufType(FittingGgufType(*type, columns), solver);
  } else {
    solver.bits = bits;
    solver.group_size = group_size;
  }
  return solver;
}

std::vector<LinearChoice> UniformChoices(const std::vector<int64_t>& group_sizes) {
  std::vector<LinearChoice> choices;
  for (const int bits : {2, 3, 4, 8}) {
    for (const int64_t group : group_sizes) choices.push_back({bits, group, {}});
  }
  return choices;
}

std::vector<LinearChoice> GgufChoices() {
  std::vector<LinearChoice> choices;
  for (const DType type :
       {DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0})
    choices.push_back({0, 0, type});
  return choices;
}

double StoredBits(int64_t rows, int64_t columns, const SolverOptions& solver) {
  if (solver.gguf_type) return 8 * static_cast<double>(ByteSize(*solver.gguf_type, rows * columns));
  const auto groups = static_cast<double>(solver.GroupCount(columns));
  double bits =
      static_cast<double>(rows) * (static_cast<double>(columns) * solver.bits + groups * (16 + solver.bits));
  const bool index_matters = solver.order == Order::kActivation && !solver.static_groups && groups > 1;
  if (index_matters) bits += 32 * static_cast<double>(columns);
  return bits;
}

std::vector<size_t> ChooseUnderBudget(const std::vector<std::vector<StageCandidate>>& stages, double budget) {
  std::vector<std::vector<size_t>> hulls;
  std::vector<size_t> place(stages.size());  // in the stage's hull
  double used = 0;
  for (const std::vector<StageCandidate>& candidates : stages) {
    hulls.push_back(LowerHull(candidates));
    used += candidates[hulls.back().front()].bits;
  }
  if (used > budget) return {};
  // The step that gains most per bit, again and again; steps that do not fit are passed over.
  for (;;) {
    std::optional<size_t> best;
    double best_gain = 0;
    for (size_t s = 0; s < stages.size(); ++s) {
      if (place[s] + 1 == hulls[s].size()) continue;
      const StageCandidate& now = stages[s][hulls[s][place[s]]];
      const StageCandidate& next = stages[s][hulls[s][place[s] + 1]];
      const double gain = (now.divergence - next.divergence) / (next.bits - now.bits);
      if (used + next.bits - now.bits > budget || gain <= best_gain) continue;
      best = s;
      best_gain = gain;
    }
    if (!best) break;
    const size_t from = hulls[*best][place[*best]], to = hulls[*best][++place[*best]];
    used += stages[*best][to].bits - stages[*best][from].bits;
  }
  std::vector<size_t> chosen;
  for (size_t s = 0; s < stages.size(); ++s) chosen.push_back(hulls[s][place[s]]);
  return chosen;
}

std::vector<double> MeanShares(const std::vector<std::vector<double>>& divergences) {
  std::vector<double> shares(divergences.size());
  const size_t texts = divergences.empty() ? 0 : divergences.front().size();
  for (size_t text = 0; text < texts; ++text) {
    double sum = 0;
    for (const std::vector<double>& stage : divergences) sum += stage[text];
    for (size_t s = 0; s < shares.size() && sum > 0; ++s)
      shares[s] += divergences[s][text] / sum / static_cast<double>(texts);
  }
  return shares;
}

std::map<std::string, LinearChoice> AllocateBits(const AllocationOptions& options,
                                                 const CalibrationSet& samples, Decoder& decoder,
                                                 Progress& progress) {
  return Allocator(options, samples, decoder, progress).Run();
}

}  // namespace gptq
