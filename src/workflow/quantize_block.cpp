#include "workflow/quantize_block.h"

#include <algorithm>
#include <cmath>

#include "quant/gguf_format.h"
#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "workflow/quantize_head.h"

namespace gptq {
namespace {

std::vector<float> ReadAll(const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows() * weight.columns()));
  weight.ReadRows(0, weight.rows(), values.data());
  return values;
}

// Rows of `x` times the square roots of the tokens' weights.
Matrix Scaled(MatrixView x, std::span<const float> weights, ThreadPool& pool) {
  Matrix scaled(x.rows, x.columns);
  pool.ParallelFor(x.rows, [&](int64_t r) {
    const float factor = std::sqrt(weights[static_cast<size_t>(r)]);
    const float* from = x.data + r * x.columns;
    float* row = scaled.data() + r * x.columns;
    for (int64_t c = 0; c < x.columns; ++c) row[c] = from[c] * factor;
  });
  return scaled;
}

Matrix CopyOf(Backend& backend, MatrixView x) {
  Matrix copy(x.rows, x.columns, backend.memory());
  backend.Copy(x, copy.view());
  return copy;
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

// 2 operations per weight and token; attention: scores and values of all keys up to each query.
double BlockQuantizer::ForwardFlops(size_t number) const {
  const auto tokens = static_cast<double>(store_.shape().rows());
  double flops = 2 * tokens * block_->stages()[number].MultipliedWeights(job_.model->spec());
  if (number == 0) {
    flops += 2 * static_cast<double>(job_.samples.tokens()) *
             static_cast<double>(job_.samples.tokens_per_sample + 1) *
             static_cast<double>(job_.model->spec().query_width());
  }
  return flops * store_.shape().streams;
}

// Brings a state from the stage before to the input of stage `number`.
void BlockQuantizer::Advance(const Block& block, size_t number, BlockState& state) {
  StageTimer timer(report_, "forward");
  if (number == 0) {
    block.Begin(backend_, state);
  } else {
    block.Advance(backend_, number - 1, job_.decoder->positions(), state);
  }
}

// Residual corrections look at the stream that the next linears add to.
bool BlockQuantizer::LooksAtHidden(size_t number) const {
  return job_.options.residual_correction != 0 && number < block_->stages().size() &&
         block_->stages()[number].added_scale != 0;
}

std::span<BlockState> BlockQuantizer::AdvanceBatch(size_t batch, size_t number) {
  progress_.Step(index_);  // the user may stop it here
  const bool residual = number > 0 && block_->stages()[number - 1].adds_to_hidden;
  std::span<BlockState> states;
  {
    StageTimer timer(report_, "activations");
    states = store_.Load(batch, number == 0 || residual || LooksAtHidden(number));
  }
  Advance(*block_, number, states[0]);
  if (original_) Advance(*original_, number, states[1]);
  if (number == block_->stages().size()) return states;
  StageTimer timer(report_, "activations");
  store_.Save(batch, residual);
  return states;
}

void BlockQuantizer::EndBlock() {
  const size_t end = block_->stages().size();
  const bool last = index_ + 1 == job_.layers();
  if (!job_.calibrated()) {  // the check's tokens have waited for the quantized weights
    for (size_t number = 0; number < end; ++number) AdvanceBatch(0, number);
  }
  const bool first_only = last && PlannedHead(job_) == nullptr;
  for (size_t batch = 0; batch < (first_only ? 1 : store_.batches()); ++batch) {
    AdvanceBatch(batch, end);
    StageTimer timer(report_, "activations");
    store_.SaveBoundary(batch);
  }
  store_.Unload();
  if (!first_only) report_.forward_flops += ForwardFlops(end - 1);
}

void BlockQuantizer::AddInput(MatrixView input, const MatrixView* unquantized,
                              std::span<const BlockState> states, std::span<const float> weights,
                              Sums& sums) {
  ThreadPool& pool = backend_.pool();
  if (sums.hessian.on_device()) {
    std::vector<float> factors(weights.size());
    std::ranges::transform(weights, factors.begin(), [](float weight) { return std::sqrt(weight); });
    return sums.hessian.AddOnDevice(input, factors);
  }
  Matrix copies[4], readable[4];
  int copied = 0;
  const auto read = [&](MatrixView rows) { return backend_.Readable(rows, readable[copied]); };
  // A token's weight is in both factors of every product.
  const auto weighted = [&](MatrixView rows) -> const float* {
    rows = read(rows);
    if (!weights.empty()) {
      copies[copied] = Scaled(rows, weights, pool);
      rows = copies[copied].view();
    }
    ++copied;
    return rows.data;
  };
  const float* x = weighted(input);
  sums.hessian.Add(x, input.rows, input.columns, pool);
  if (!sums.shift) return;
  if (sums.shift->input) sums.shift->input->Add(weighted(*unquantized), x, x, input.rows, pool);
  if (sums.shift->residual) {
    const float* stream = weighted(states[1].hidden.view());
    sums.shift->residual->Add(stream, weighted(states[0].hidden.view()), x, input.rows, pool);
  }
}

std::optional<TargetShift> BlockQuantizer::MakeShift(const Stage& stage, const StatisticsUnit& unit) const {
  TargetShift shift;
  if (unit.input_rows > 0) {
    shift.input_share = job_.options.asymmetric_calibration;
    shift.input.emplace(unit.input_rows, unit.columns);
  }
  if (unit.residual_rows > 0) {
    shift.residual_share = job_.options.residual_correction / stage.added_scale;
    shift.residual.emplace(unit.residual_rows, unit.columns);
  }
  if (!shift.input && !shift.residual) return std::nullopt;
  return shift;
}

// The batch's inputs of these units, at the input of stage `number`.
void BlockQuantizer::AddStatistics(size_t batch, size_t number, std::span<BlockState> states,
                                   std::span<const StatisticsUnit> units, std::vector<Sums>& sums) {
  using Rows = std::optional<std::vector<int32_t>>;
  std::vector<Rows> rows(block_->stages()[number].groups.size());
  if (!job_.options.calibrate_all_experts) rows = block_->GroupRows(backend_, number, states[0]);
  for (size_t u = 0; u < units.size(); ++u) {
    const size_t group = units[u].groups.front();
    const std::vector<int32_t>* chosen = rows[group] ? &*rows[group] : nullptr;
    if (chosen != nullptr && chosen->empty()) continue;
    std::vector<float> weights = token_weights_[batch];
    if (!weights.empty() && chosen != nullptr) {
      weights.clear();
      for (const int32_t row : *chosen) weights.push_back(token_weights_[batch][static_cast<size_t>(row)]);
    }
    const MatrixView input = block_->GroupInput(backend_, number, group, states[0], chosen);
    if (!original_) {
      AddInput(input, nullptr, states, weights, sums[u]);
      continue;
    }
    Matrix copy = CopyOf(backend_, input);  // the backend's memory is used again
    const MatrixView unquantized = original_->GroupInput(backend_, number, group, states[1], chosen);
    AddInput(copy.view(), &unquantized, states, weights, sums[u]);
  }
}

// At the first stage's input.
void BlockQuantizer::WeighTokens(size_t batch, const BlockState& state) {
  std::vector<float>& weights = token_weights_[batch];
  if (job_.options.token_weighting == TokenWeighting::kAttention) {
    Timer timer(&report_.stage_seconds["forward"]);
    weights = block_->ReceivedAttention(backend_, job_.decoder->positions(), state);
  }
  const std::vector<double>& of_loops = job_.model->spec().loop_weights;
  const auto weight = static_cast<float>(of_loops[batch / (store_.batches() / of_loops.size())]);
  if (weight == 1) return;
  if (weights.empty()) weights.assign(static_cast<size_t>(state.input.rows()), 1.0f);
  for (float& of_token : weights) of_token *= weight;
}

// Brings all batches to the input of stage `number`, unless they are there, and sums these units' statistics.
std::vector<StageStatistics> BlockQuantizer::SumStatistics(size_t number,
                                                           std::span<const StatisticsUnit> units,
                                                           bool advance) {
  std::vector<Sums> sums;
  for (const StatisticsUnit& unit : units) {
    std::optional<TargetShift> shift = MakeShift(block_->stages()[number], unit);
    sums.push_back({HessianAccumulator(unit.columns, shift ? nullptr : &backend_), std::move(shift)});
  }
  for (size_t batch = 0; batch < store_.batches(); ++batch) {
    std::span<BlockState> states;
    if (advance) {
      states = AdvanceBatch(batch, number);
    } else {
      progress_.Step(index_);
      StageTimer timer(report_, "activations");
      states = store_.Load(batch, LooksAtHidden(number));
    }
    if (advance && number == 0) WeighTokens(batch, states[0]);
    StageTimer timer(report_, "hessian");
    if (!units.empty()) AddStatistics(batch, number, states, units, sums);
  }
  store_.Unload();
  if (advance && number > 0) report_.forward_flops += ForwardFlops(number - 1);
  std::vector<StageStatistics> statistics;
  StageTimer timer(report_, "hessian");
  for (Sums& sum : sums) {
    const StatisticsUnit& unit = units[statistics.size()];
    const int64_t products =
        unit.columns + 1 + 2 * (unit.input_rows + unit.residual_rows);  // H: one triangle
    report_.hessian_flops += static_cast<double>(sum.hessian.tokens()) * static_cast<double>(unit.columns) *
                             static_cast<double>(products);
    statistics.push_back({sum.hessian.Finish(backend_.pool()), std::move(sum.shift)});
  }
  return statistics;
}

// The order of the columns hangs on the group size, which the linears of one input share.
const SolverOptions& BlockQuantizer::SolverOf(std::span<const LinearLayer> linears) const {
  for (const LinearLayer& linear : linears) {
    const auto planned = job_.plan.find(linear.name);
    if (planned != job_.plan.end()) return planned->second.solver;
  }
  return job_.options.solver;
}

std::span<LinearLayer> BlockQuantizer::LinearsOf(Stage& stage, size_t group) const {
  return std::span(stage.linears).subspan(stage.groups[group].first, stage.groups[group].count);
}

void BlockQuantizer::QuantizeStage(Stage& stage, size_t number) {
  if (!job_.calibrated()) {
    QuantizeGroup(stage.linears, {});
    return;
  }
  const std::vector<StatisticsUnit> units = job_.Units(stage);
  std::vector<std::span<const StatisticsUnit>> parts = PartsInMemory(units, statistics_bytes_);
  if (parts.empty()) parts.emplace_back();  // the batches go on all the same
  unseen_.clear();
  damped_.clear();
  for (size_t part = 0; part < parts.size(); ++part) {
    std::vector<StageStatistics> statistics = SumStatistics(number, parts[part], part == 0);
    for (size_t unit = 0; unit < statistics.size(); ++unit) {
      QuantizeUnit(stage, parts[part][unit], statistics[unit]);
      statistics[unit] = {};
    }
  }
  TellOfExperts(stage);
}

std::string BlockQuantizer::DescribeUnit(const Stage& stage, const StatisticsUnit& unit) const {
  const int64_t expert = stage.groups[unit.groups.front()].expert;
  return Concat("block ", index_, ", ", stage.name, expert < 0 ? "" : Concat(", expert ", expert));
}

void BlockQuantizer::QuantizeUnit(Stage& stage, const StatisticsUnit& unit, StageStatistics& statistics) {
  const std::string name = DescribeUnit(stage, unit);
  if (const int64_t repaired = RepairHessian(statistics.hessian); repaired > 0) {
    progress_.Warn(Concat(name, ": the statistics of ", repaired,
                          " inputs are not finite; their weights are rounded to nearest"));
  }
  progress_.Step(index_);
  SolverOptions solver = SolverOf(LinearsOf(stage, unit.groups.front()));
  Metric metric;
  metric.statistics = &statistics;
  metric.inputs = CountInputs(statistics.hessian);
  const int64_t expert = stage.groups[unit.groups.front()].expert;
  if (expert >= 0) {
    const std::optional<double> damping =
        ExpertDamping(statistics.hessian.tokens, unit.columns, solver.damping);
    if (!damping || *damping != solver.damping) {
      (damping ? damped_ : unseen_).push_back(expert);
      metric.fallback = damping ? "damping" : "rtn";
      metric.damping = damping;
      solver.damping = damping.value_or(solver.damping);
    }
  }
  if (metric.fallback != "rtn") {
    StageTimer timer(report_, "factor");
    if (!statistics.shift && job_.options.method == Method::kGptq) {
      try {
        metric.device = MakeDeviceMetric(backend_, statistics.hessian.view(), solver, name);
      } catch (const DeviceMemoryError& error) {
        progress_.Warn(Concat(name, " is solved on the processor: ", error.what()));
      }
    }
    if (!metric.device)
      metric.factor = FactorForOptions(statistics.hessian.view(), solver, name, backend_.pool());
  }
  for (const size_t group : unit.groups) QuantizeGroup(LinearsOf(stage, group), metric);
}

void BlockQuantizer::QuantizeGroup(std::span<LinearLayer> linears, const Metric& metric) {
  for (LinearLayer& linear : linears) {
    const auto planned = job_.plan.find(linear.name);
    if (planned == job_.plan.end()) continue;
    progress_.Step(index_);
    QuantizeLinear(linear, planned->second, metric);
    if (!original_) job_.model->source().Release(linear.name);
  }
}

void BlockQuantizer::TellOfExperts(const Stage& stage) {
  const auto tell = [&](const std::vector<int64_t>& experts, const char* what) {
    if (experts.empty()) return;
    std::string list;
    for (size_t i = 0; i < experts.size() && i < 8; ++i)
      list += (i == 0 ? "" : ", ") + std::to_string(experts[i]);
    if (experts.size() > 8) list += ", ...";
    progress_.Warn(Concat("block ", index_, ", ", stage.name, ": ", experts.size(), " experts saw ", what,
                          " (", list, "); more calibration or --calibrate-experts all helps"));
  };
  tell(unseen_, "too few tokens to be calibrated and are rounded to nearest");
  tell(damped_, "fewer tokens than they have inputs and are damped more");
}

MatrixSolution BlockQuantizer::SolveGroup(const ConstMatrixView& weight, const PlannedLinear& plan,
                                          const Metric& metric, const SolverOptions& solver,
                                          const ConstMatrixView* target) {
  const HessianView hessian = metric.statistics->hessian.view();
  const auto on_host = [&](const std::optional<InverseFactor>& factor) {
    return SolveMatrix(weight, hessian, factor, job_.options.method, solver, plan.name, backend_.pool(),
                       target);
  };
  if (!metric.device) return on_host(metric.factor);
  if (metric.device->Supports(solver)) {
    try {
      return metric.device->Solve(weight, job_.options.method, solver, plan.name, backend_.pool());
    } catch (const DeviceMemoryError& error) {
      progress_.Warn(Concat(plan.name, " is solved on the processor: ", error.what()));
    }
  }
  return on_host(FactorForOptions(hessian, solver, plan.name, backend_.pool()));
}

StoredMatrix BlockQuantizer::Solve(const LinearLayer& linear, const PlannedLinear& plan, const Metric& metric,
                                   LayerReport& layer) {
  const std::vector<float> values = ReadAll(linear.weight);
  const ConstMatrixView weight = ConstMatrix(values.data(), plan.rows, plan.columns);
  const StageStatistics* statistics = metric.statistics;
  if (statistics == nullptr || metric.fallback == "rtn") {
    SolverOptions rounding = plan.solver;
    if (statistics != nullptr && rounding.clip == Clip::kHessian) rounding.clip = Clip::kMse;
    return ToStoredMatrix(RoundToNearest(weight, rounding, backend_.pool()), rounding, plan.name);
  }
  std::vector<float> shifted;
  std::optional<ConstMatrixView> target;
  if (statistics->shift && metric.factor) {
    shifted = statistics->shift->Target(weight, *metric.factor, backend_.pool());
    target = ConstMatrix(shifted.data(), plan.rows, plan.columns);
  }
  SolverOptions solver = plan.solver;
  solver.damping = metric.damping.value_or(solver.damping);
  MatrixSolution solution = SolveGroup(weight, plan, metric, solver, target ? &*target : nullptr);
  for (const std::string& warning : solution.warnings) progress_.Warn(warning);
  layer.loss = solution.loss;
  layer.relative_error = solution.relative_error;
  layer.damping = solution.damping;
  return ToStoredMatrix(std::move(solution.result), plan.solver, plan.name);
}

void BlockQuantizer::QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan, const Metric& metric) {
  LayerReport layer = DescribeLayer(plan);
  if (metric.statistics != nullptr) {
    layer.tokens = metric.statistics->hessian.tokens;
    layer.dead_inputs = metric.inputs.dead;
    layer.outlier_inputs = metric.inputs.outliers;
  }
  layer.fallback = metric.fallback;
  StoredMatrix stored;
  {
    StageTimer stage(report_, "solve");
    Timer timer(&layer.seconds);
    stored = Solve(linear, plan, metric, layer);
  }
  report_.layers.push_back(std::move(layer));
  StageTimer timer(report_, "write");
  if (job_.options.observe) job_.options.observe(plan.name, stored);
  // In GGUF minima of groups are float16: what comes next sees them as readers will.
  const PackedWeight* packed = std::get_if<PackedWeight>(&stored);
  if (packed != nullptr && job_.options.format == WeightFormat::kGguf && !packed->symmetric)
    stored = ToGgufBlocks(*packed, plan.type, plan.name);
  output_.WriteLinear(plan.name, stored);
  linear.weight = ToWeight(std::move(stored), backend_.pool());
}

}  // namespace gptq
