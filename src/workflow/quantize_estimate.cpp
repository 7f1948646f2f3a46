#include "workflow/quantize_estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "quant/stored_matrix.h"
#include "quant/target_shift.h"
#include "quant/tile.h"
#include "workflow/stage_statistics.h"

namespace gptq {
namespace {

constexpr int64_t kChunk = 512;  // tokens of a measured sum of H
constexpr int64_t kLargestFactor =
    2048;  // columns that are factored and solved to measure; more are extrapolated
constexpr double kDiskBytesPerSecond = 1e9;

// The best of two: the first one also brings memory and code.
double BestSeconds(const std::function<void()>& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 2; ++round) {
    const auto start = std::chrono::steady_clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

std::vector<float> RandomValues(int64_t count) {
  std::mt19937 random(1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  return values;
}

// Times operations once for each number of columns that a block's stages have.
class Measurement {
 public:
  Measurement(const QuantizeJob& job, Backend& backend) : job_(job), backend_(backend) {}

  // In the model as it is, or behind the quantization.
  double ForwardSecondsPerFlop(const Block& block);
  // The first block rounded to nearest.
  Block QuantizedBlock();
  double SumSecondsPerToken(const StatisticsUnit& unit);
  double FactorSeconds(int64_t columns);
  double SolveSeconds(const PlannedLinear& linear);

  // Of all blocks' linears on `tokens` tokens in sequences of `length`.
  double ForwardFlops(const Block& block, double tokens, double length) const;

 private:
  // Of one tile a thread, at most kLargestFactor columns.
  double TileSeconds(const PlannedLinear& linear, int64_t columns);
  Hessian MakeHessian(int64_t columns);

  const QuantizeJob& job_;
  Backend& backend_;
  std::map<int64_t, double> factors_;
  std::map<std::pair<int64_t, int64_t>, double> sums_;  // columns and outputs
  std::map<std::pair<int64_t, int>, double> tiles_;     // columns and bits
};

double Measurement::ForwardFlops(const Block& block, double tokens, double length) const {
  double flops = 2 * tokens * (length + 1) * static_cast<double>(job_.model->spec().query_width());
  for (const Stage& stage : block.stages()) flops += 2 * tokens * stage.MultipliedWeights(job_.model->spec());
  return flops;
}

Block Measurement::QuantizedBlock() {
  Block block(job_.model->spec(), 0, job_.model->source());
  for (Stage& stage : block.stages()) {
    for (LinearLayer& linear : stage.linears) {
      const auto planned = job_.plan.find(linear.name);
      if (planned == job_.plan.end()) continue;
      const PlannedLinear& plan = planned->second;
      std::vector<float> values(static_cast<size_t>(plan.rows * plan.columns));
      linear.weight.ReadRows(0, plan.rows, values.data());
      SolverOptions rounding = plan.solver;
      rounding.clip = Clip::kNone;
      SolveResult rounded =
          RoundToNearest(ConstMatrix(values.data(), plan.rows, plan.columns), rounding, backend_.pool());
      linear.weight = ToWeight(ToStoredMatrix(std::move(rounded), rounding, plan.name), backend_.pool());
    }
  }
  return block;
}

double Measurement::ForwardSecondsPerFlop(const Block& block) {
  constexpr double kFlops = 4e11;  // at most: a second or a few
  int64_t tokens = job_.samples.tokens_per_sample;
  while (tokens > 256 &&
         ForwardFlops(block, static_cast<double>(tokens), static_cast<double>(tokens)) > kFlops)
    tokens /= 2;
  const std::span<const int32_t> ids(job_.samples.ids.data(), static_cast<size_t>(tokens));
  BlockState state{1, tokens, job_.decoder->Embed(ids, tokens), {}};
  const IntegerProducts products(backend_);
  const double seconds = BestSeconds([&] {
    block.Begin(backend_, state);
    if (job_.options.token_weighting == TokenWeighting::kAttention)
      block.ReceivedAttention(backend_, job_.decoder->positions(), state);
    for (size_t stage = 0; stage < block.stages().size(); ++stage)
      block.Advance(backend_, stage, job_.decoder->positions(), state);
  });
  return seconds / ForwardFlops(block, static_cast<double>(tokens), static_cast<double>(tokens));
}

double Measurement::SumSecondsPerToken(const StatisticsUnit& unit) {
  const auto [found, fresh] = sums_.emplace(std::pair(unit.columns, unit.Outputs()), 0);
  if (!fresh) return found->second;
  const std::vector<float> inputs = RandomValues(kChunk * unit.columns);
  HessianAccumulator accumulator(unit.columns);
  double seconds =
      BestSeconds([&] { accumulator.Add(inputs.data(), kChunk, unit.columns, backend_.pool()); });
  for (const int64_t rows : {unit.input_rows, unit.residual_rows}) {
    if (rows == 0) continue;
    const std::vector<float> stream = RandomValues(kChunk * rows);
    DifferenceMoment moment(rows, unit.columns);
    seconds += BestSeconds(
        [&] { moment.Add(stream.data(), stream.data(), inputs.data(), kChunk, backend_.pool()); });
  }
  return found->second = seconds / static_cast<double>(kChunk);
}

Hessian Measurement::MakeHessian(int64_t columns) {
  const std::vector<float> inputs = RandomValues(kChunk * columns);
  return HessianOfInputs(ConstMatrix(inputs.data(), kChunk, columns), "measurement", backend_.pool());
}

double Measurement::FactorSeconds(int64_t columns) {
  const auto [found, fresh] = factors_.emplace(columns, 0);
  if (!fresh) return found->second;
  const int64_t measured = std::min(columns, kLargestFactor);
  const Hessian hessian = MakeHessian(measured);
  const double seconds = BestSeconds(
      [&] { FactorForOptions(hessian.view(), job_.options.solver, "measurement", backend_.pool()); });
  return found->second = seconds * std::pow(static_cast<double>(columns) / static_cast<double>(measured), 3);
}

double Measurement::TileSeconds(const PlannedLinear& linear, int64_t columns) {
  const auto [found, fresh] = tiles_.emplace(std::pair(columns, linear.solver.bits), 0);
  if (!fresh) return found->second;
  const int64_t rows = backend_.pool().threads() * kTileRows;
  const std::vector<float> values = RandomValues(rows * columns);
  const ConstMatrixView weight = ConstMatrix(values.data(), rows, columns);
  if (!job_.calibrated()) {
    return found->second = BestSeconds([&] { RoundToNearest(weight, linear.solver, backend_.pool()); });
  }
  const Hessian hessian = MakeHessian(columns);
  const std::optional<InverseFactor> factor =
      FactorForOptions(hessian.view(), linear.solver, "measurement", backend_.pool());
  return found->second = BestSeconds([&] {
           SolveMatrix(weight, hessian.view(), factor, job_.options.method, linear.solver, "measurement",
                       backend_.pool());
         });
}

double Measurement::SolveSeconds(const PlannedLinear& linear) {
  const auto rounds = std::ceil(static_cast<double>(TileCount(linear.rows)) / backend_.pool().threads());
  if (linear.columns <= kLargestFactor) return rounds * TileSeconds(linear, linear.columns);
  // a n + b n², through two points.
  const double whole = TileSeconds(linear, kLargestFactor), half = TileSeconds(linear, kLargestFactor / 2);
  const double n = static_cast<double>(linear.columns) / kLargestFactor;
  const double square = std::max(0.0, 2 * (whole - 2 * half));
  return rounds * ((whole - square) * n + square * n * n);
}

// Bytes of what ModelOutput writes for the plan and keeps of the rest.
int64_t OutputBytes(const QuantizeJob& job) {
  const CheckpointReader& reader = job.model->reader();
  int64_t bytes = 0;
  for (const std::string& name : reader.names()) {
    const TensorView view = reader.Get(name);
    bytes += job.model->is_gguf() ? view.elements() * 2 : view.bytes();
  }
  for (const auto& [name, linear] : job.plan) {
    const int64_t elements = linear.rows * linear.columns;
    bytes -= job.model->is_gguf() ? elements * 2 : job.model->source().StoredBytes(name);
    if (IsBlockType(linear.type)) {
      bytes += ByteSize(linear.type, elements);
      continue;
    }
    const int64_t groups = linear.solver.GroupCount(linear.columns);
    bytes += (elements + groups * linear.rows) * linear.solver.bits / 8 + groups * linear.rows * 2 +
             linear.columns * 4;
  }
  return bytes;
}

}  // namespace

std::map<std::string, double> EstimateSeconds(const QuantizeJob& job, Backend& backend) {
  Measurement measure(job, backend);
  std::map<std::string, double> seconds;
  double per_flop = measure.ForwardSecondsPerFlop(measure.QuantizedBlock());
  if (job.shifted()) per_flop += measure.ForwardSecondsPerFlop(job.decoder->blocks().front());
  const auto loops = static_cast<double>(job.calibrated() ? job.model->spec().loops : 1);
  const auto tokens = static_cast<double>(job.samples.tokens()) * loops;
  const auto length = static_cast<double>(job.samples.tokens_per_sample);
  const auto sinks = static_cast<double>(job.samples.sinks.size()) * loops;
  for (const Block& block : job.decoder->blocks()) {
    seconds["forward"] +=
        per_flop * (measure.ForwardFlops(block, tokens, length) + measure.ForwardFlops(block, sinks, 1));
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) {
        const auto planned = job.plan.find(linear.name);
        if (planned != job.plan.end()) seconds["solve"] += measure.SolveSeconds(planned->second);
      }
      if (!job.calibrated()) continue;
      const bool all = job.options.calibrate_all_experts;
      for (const StatisticsUnit& unit : job.Units(stage)) {
        const bool routed = stage.groups[unit.groups.front()].expert >= 0 && !all;
        const ExpertSpec& experts = job.model->spec().experts;
        const double share =
            routed ? static_cast<double>(experts.per_token) / static_cast<double>(experts.experts) : 1;
        seconds["hessian"] += measure.SumSecondsPerToken(unit) * (tokens + sinks) * share;
        seconds["factor"] += measure.FactorSeconds(unit.columns);
      }
    }
  }
  const ActivationShape shape = job.activations();
  seconds["write"] = static_cast<double>(OutputBytes(job)) / kDiskBytesPerSecond;
  seconds["activations"] = static_cast<double>(shape.BoundaryBytes() * job.layers()) / kDiskBytesPerSecond;
  return seconds;
}

Json DescribePlan(const QuantizeJob& job, const MemoryPlan& memory, Backend& backend) {
  Json layers = Json::array();
  for (const Block& block : job.decoder->blocks()) {
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) {
        const auto planned = job.plan.find(linear.name);
        if (planned == job.plan.end()) continue;
        const PlannedLinear& plan = planned->second;
        layers.push_back({{"name", plan.name},
                          {"rows", plan.rows},
                          {"columns", plan.columns},
                          {"bits", plan.solver.bits},
                          {"group_size", plan.solver.group_size},
                          {"type", IsBlockType(plan.type) ? Json(Name(plan.type)) : Json()}});
      }
    }
  }
  const std::map<std::string, double> stages = EstimateSeconds(job, backend);
  double seconds = 0;
  for (const auto& [name, value] : stages) seconds += value;
  const ActivationShape shape = job.activations();
  return {
      {"dry_run", true},
      {"output", job.options.output.string()},
      {"layers", std::move(layers)},
      {"bits_per_weight", BitsPerWeight(job.plan)},
      {"calibration",
       {{"samples", job.calibrated() ? job.samples.samples : 0},
        {"tokens", job.calibrated() ? job.samples.tokens() : 0},
        {"sequence_length", job.calibrated() ? job.samples.tokens_per_sample : 0},
        {"sink_sequences", job.samples.sinks.size()}}},
      {"memory",
       {{"budget_bytes", memory.budget},
        {"planned_bytes", memory.peak},
        {"least_bytes", memory.least},
        {"activations_bytes", memory.activations},
        {"spilled_bytes", memory.spilled}}},
      {"disk",
       {{"output_bytes", OutputBytes(job)}, {"temporary_bytes", 2 * shape.BoundaryBytes() + memory.spilled}}},
      {"stages", stages},
      {"estimated_seconds", seconds}};
}

}  // namespace gptq
