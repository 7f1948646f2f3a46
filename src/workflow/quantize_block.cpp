#include "workflow/quantize_block.h"

#include <algorithm>
#include <cmath>

#include "quant/rtn.h"
#include "quant/solve_matrix.h"

namespace gptq {
namespace {

std::vector<float> ReadAll(const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows() * weight.columns()));
  weight.ReadRows(0, weight.rows(), values.data());
  return values;
}

// Rows of `x` times the square roots of the tokens' weights.
Matrix Scaled(const Matrix& x, std::span<const float> weights, ThreadPool& pool) {
  Matrix scaled(x.rows(), x.columns());
  pool.ParallelFor(x.rows(), [&](int64_t r) {
    const float factor = std::sqrt(weights[static_cast<size_t>(r)]);
    const float* from = x.data() + r * x.columns();
    float* row = scaled.data() + r * x.columns();
    for (int64_t c = 0; c < x.columns(); ++c) row[c] = from[c] * factor;
  });
  return scaled;
}

}  // namespace

void BlockQuantizer::Run(int64_t index) {
  index_ = index;
  block_ = &job_.decoder->blocks()[static_cast<size_t>(index)];
  token_weights_.assign(store_.batches(), {});
  if (job_.shifted()) original_ = std::make_unique<Block>(job_.model->spec(), index, job_.model->source());
  for (size_t number = 0; number < block_->stages().size(); ++number)
    QuantizeStage(block_->stages()[number], number);
  EndBlock();
  // Written and passed: the memory goes to the next block.
  original_.reset();
  for (Stage& stage : block_->stages()) {
    for (LinearLayer& linear : stage.linears) {
      linear.weight = Weight();
      job_.model->source().Release(linear.name);
    }
  }
}

bool BlockQuantizer::wanted(const Stage& stage) const {
  return std::ranges::any_of(stage.linears,
                             [&](const LinearLayer& linear) { return job_.plan.contains(linear.name); });
}

// 2 operations per weight and token; attention: scores and values of all keys up to each query.
double BlockQuantizer::ForwardFlops(size_t number) const {
  const auto tokens = static_cast<double>(store_.shape().rows());
  double flops = 0;
  for (const LinearLayer& linear : block_->stages()[number].linears) {
    flops +=
        2 * tokens * static_cast<double>(linear.weight.rows()) * static_cast<double>(linear.weight.columns());
  }
  if (number == 0) {
    flops += 2 * static_cast<double>(job_.samples.tokens()) *
             static_cast<double>(job_.samples.tokens_per_sample + 1) *
             static_cast<double>(job_.model->spec().query_width());
  }
  return flops * store_.shape().streams;
}

// Brings a state from the stage before to the input of stage `number`.
void BlockQuantizer::Advance(const Block& block, size_t number, BlockState& state) {
  Timer timer(&report_.stage_seconds["forward"]);
  if (number == 0) {
    block.Begin(backend_, state);
  } else {
    block.Advance(backend_, number - 1, job_.decoder->rotary(), state, nullptr);
  }
}

std::span<BlockState> BlockQuantizer::AdvanceBatch(size_t batch, size_t number) {
  progress_.Step(index_);  // the user may stop it here
  const bool residual = number > 0 && block_->stages()[number - 1].adds_to_hidden;
  std::span<BlockState> states;
  {
    Timer timer(&report_.stage_seconds["activations"]);
    states = store_.Load(batch, number == 0 || residual);
  }
  Advance(*block_, number, states[0]);
  if (original_) Advance(*original_, number, states[1]);
  if (number == block_->stages().size()) return states;
  Timer timer(&report_.stage_seconds["activations"]);
  store_.Save(batch, residual);
  return states;
}

void BlockQuantizer::EndBlock() {
  const size_t end = block_->stages().size();
  const bool last = index_ + 1 == job_.layers();
  if (!job_.calibrated()) {  // the check's tokens have waited for the quantized weights
    for (size_t number = 0; number < end; ++number) AdvanceBatch(0, number);
  }
  for (size_t batch = 0; batch < (last ? 1 : store_.batches()); ++batch) {
    AdvanceBatch(batch, end);
    Timer timer(&report_.stage_seconds["activations"]);
    store_.SaveBoundary(batch);
  }
  store_.Unload();
  if (!last) report_.forward_flops += ForwardFlops(end - 1);
}

void BlockQuantizer::AddStatistics(size_t batch, std::span<BlockState> states,
                                   HessianAccumulator& accumulator, InputShift* shift) {
  const auto add = [&](const Matrix& input, const Matrix* unquantized) {
    accumulator.Add(input.data(), input.rows(), input.columns(), backend_.pool());
    if (shift != nullptr) shift->Add(unquantized->data(), input.data(), input.rows(), backend_.pool());
  };
  const std::vector<float>& weights = token_weights_[batch];
  if (weights.empty()) return add(states[0].input, shift != nullptr ? &states[1].input : nullptr);
  const Matrix input = Scaled(states[0].input, weights, backend_.pool());
  Matrix unquantized;
  if (shift != nullptr) unquantized = Scaled(states[1].input, weights, backend_.pool());
  add(input, &unquantized);
}

// Brings all batches to the input of stage `number` and sums its statistics, if any of its linears is to be
// quantized.
std::optional<StageStatistics> BlockQuantizer::RunStage(size_t number) {
  const Stage& stage = block_->stages()[number];
  const int64_t columns = stage.linears.front().weight.columns();
  const bool needed = wanted(stage);
  HessianAccumulator accumulator(needed ? columns : 0);
  std::optional<InputShift> shift;
  if (needed && original_) shift.emplace(columns);
  for (size_t batch = 0; batch < store_.batches(); ++batch) {
    const std::span<BlockState> states = AdvanceBatch(batch, number);
    if (number == 0 && job_.options.token_weighting == TokenWeighting::kAttention) {
      Timer timer(&report_.stage_seconds["forward"]);
      token_weights_[batch] = block_->ReceivedAttention(backend_, job_.decoder->rotary(), states[0]);
    }
    if (!needed) continue;
    Timer timer(&report_.stage_seconds["hessian"]);
    AddStatistics(batch, states, accumulator, shift ? &*shift : nullptr);
  }
  store_.Unload();
  if (number > 0) report_.forward_flops += ForwardFlops(number - 1);
  if (!needed) return std::nullopt;
  report_.hessian_flops += static_cast<double>(accumulator.tokens()) * static_cast<double>(columns) *
                           (static_cast<double>(columns) * (shift ? 3 : 1) + 1);
  Timer timer(&report_.stage_seconds["hessian"]);
  StageStatistics statistics{accumulator.Finish(backend_.pool()), std::move(shift)};
  if (const int64_t repaired = RepairHessian(statistics.hessian); repaired > 0) {
    progress_.Warn(Concat("block ", index_, ", ", stage.name, ": the statistics of ", repaired,
                          " inputs are not finite; their weights are rounded to nearest"));
  }
  return statistics;
}

// The order of the columns hangs on the group size, which the linears of a stage share.
const SolverOptions& BlockQuantizer::SolverOf(const Stage& stage) const {
  for (const LinearLayer& linear : stage.linears) {
    const auto planned = job_.plan.find(linear.name);
    if (planned != job_.plan.end()) return planned->second.solver;
  }
  return job_.options.solver;
}

void BlockQuantizer::QuantizeStage(Stage& stage, size_t number) {
  std::optional<StageStatistics> statistics;
  if (job_.calibrated()) statistics = RunStage(number);
  std::optional<InverseFactor> factor;
  if (statistics) {
    progress_.Step(index_);
    Timer timer(&report_.stage_seconds["factor"]);
    factor = FactorForOptions(statistics->hessian.view(), SolverOf(stage),
                              Concat("block ", index_, ", ", stage.name), backend_.pool());
  }
  for (LinearLayer& linear : stage.linears) {
    const auto planned = job_.plan.find(linear.name);
    if (planned == job_.plan.end()) continue;
    progress_.Step(index_);
    QuantizeLinear(linear, planned->second, statistics ? &*statistics : nullptr, factor);
    if (!original_) job_.model->source().Release(linear.name);
  }
}

PackedWeight BlockQuantizer::Solve(const LinearLayer& linear, const PlannedLinear& plan,
                                   const StageStatistics* statistics,
                                   const std::optional<InverseFactor>& factor, LayerReport& layer) {
  const std::vector<float> values = ReadAll(linear.weight);
  const ConstMatrixView weight = ConstMatrix(values.data(), plan.rows, plan.columns);
  if (statistics == nullptr)
    return ToPackedWeight(RoundToNearest(weight, plan.solver, backend_.pool()), plan.solver, plan.name);
  std::vector<float> shifted;
  std::optional<ConstMatrixView> target;
  if (statistics->shift && factor) {
    shifted =
        statistics->shift->Target(weight, *factor, job_.options.asymmetric_calibration, backend_.pool());
    target = ConstMatrix(shifted.data(), plan.rows, plan.columns);
  }
  const MatrixSolution solution =
      SolveMatrix(weight, statistics->hessian.view(), factor, job_.options.method, plan.solver, plan.name,
                  backend_.pool(), target ? &*target : nullptr);
  for (const std::string& warning : solution.warnings) progress_.Warn(warning);
  layer.loss = solution.loss;
  layer.relative_error = solution.relative_error;
  layer.damping = solution.damping;
  return ToPackedWeight(solution.result, plan.solver, plan.name);
}

void BlockQuantizer::QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan,
                                    const StageStatistics* statistics,
                                    const std::optional<InverseFactor>& factor) {
  LayerReport layer{plan.name, plan.rows, plan.columns, plan.solver.bits, plan.solver.group_size, {}, {},
                    {},        0};
  PackedWeight packed;
  {
    Timer timer(&layer.seconds);
    packed = Solve(linear, plan, statistics, factor, layer);
  }
  report_.stage_seconds["solve"] += layer.seconds;
  report_.layers.push_back(std::move(layer));
  Timer timer(&report_.stage_seconds["write"]);
  output_.WriteLinear(plan, packed);
  if (job_.options.observe) job_.options.observe(plan.name, packed);
  linear.weight = Weight(std::move(packed));
}

}  // namespace gptq
