#include "workflow/quantize_memory.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "quant/grid.h"

namespace gptq {
namespace {

constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
constexpr int64_t kMegabyte = 1'000'000;

// The most that each part needs, over all blocks.
struct Needs {
  int64_t weights = 0;  // of a block: the source's pages and the quantized ones
  int64_t scratch = 0;  // of the backend, kept from block to block
  int64_t stage = 0;    // of a stage: summing H, factoring it, solving a linear
  int64_t batch = 0;    // a batch's next input, beside its state
  int64_t check = 0;    // of the written model, when all this is gone
};

int64_t Elements(const LinearLayer& linear) { return linear.weight.rows() * linear.weight.columns(); }

// Summing, then factoring, then solving; what ends is given back.
int64_t StageBytes(const QuantizeJob& job, const Stage& stage, int threads) {
  const int64_t n = stage.linears.front().weight.columns(), square = n * n * kFloat;
  int64_t solve = 0;
  for (const LinearLayer& linear : stage.linears) {
    const auto planned = job.plan.find(linear.name);
    if (planned == job.plan.end()) continue;
    // The weight, its target, codes twice and the dequantized weight; a tile of each thread.
    const int64_t target = job.shifted() ? kFloat : 0;
    const int64_t tiles = threads * kTileRows * n * 3 * kFloat;
    solve = std::max(solve, Elements(linear) * (2 * kFloat + 2 + target) + tiles);
  }
  if (solve == 0 || !job.calibrated()) return solve;
  const int64_t statistics = square * (job.shifted() ? 2 : 1);
  constexpr int64_t kChunk = 512, kPanel = 256;
  const int64_t sum = statistics + kChunk * n * kFloat * (job.shifted() ? 2 : 1);
  // U and its float64 form; the metric of a refinement.
  const int64_t factor = statistics + 3 * square + 2 * kPanel * n * kFloat;
  const bool refined = job.options.solver.refits > 0 || job.options.solver.sweeps > 0;
  return std::max({sum, factor, statistics + square * (refined ? 2 : 1) + solve});
}

Needs NeedsOf(const QuantizeJob& job, const ActivationShape& shape, int threads) {
  Needs needs;
  const int64_t rows = shape.LargestBatch();
  constexpr int64_t kExpanded = int64_t{32} << 20;  // weights that the backend expands at once
  int64_t widest = 0, beside = 0, largest = 0;
  for (const Block& block : job.decoder->blocks()) {
    int64_t weights = 0;
    for (const Stage& stage : block.stages()) {
      int64_t outputs = 0;
      for (const LinearLayer& linear : stage.linears) {
        outputs += linear.weight.rows();
        widest = std::max(widest, linear.weight.rows());
        weights += Elements(linear) + job.model->source().StoredBytes(linear.name);
        largest = std::max(largest, Elements(linear) * kFloat);
      }
      // Keys and values lie beside the queries.
      if (&stage == &block.stages().front()) beside = outputs - stage.linears.front().weight.rows();
      needs.stage = std::max(needs.stage, StageBytes(job, stage, threads));
    }
    needs.weights = std::max(needs.weights, weights);
  }
  needs.batch = rows * shape.widest_input * kFloat *
                (job.options.token_weighting == TokenWeighting::kNone ? 1 : 1 + shape.streams);
  const ModelSpec& spec = job.model->spec();
  constexpr int64_t kCheckTokens = 128;
  needs.check = 3 * kCheckTokens * spec.vocabulary * kFloat +
                job.model->source().StoredBytes(spec.Name(spec.tied_head ? "embedding" : "head"));
  needs.scratch = rows * (widest + beside) * kFloat + std::min(largest, kExpanded) + threads * kMegabyte;
  return needs;
}

std::optional<int64_t> ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> Field(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    int64_t kibibytes = 0;
    if (word == name && file >> kibibytes) return kibibytes * 1024;
  }
  return std::nullopt;
}

std::string Megabytes(int64_t bytes) { return Concat((bytes + kMegabyte - 1) / kMegabyte, "M"); }

}  // namespace

ProcessMemory ReadProcessMemory() {
  return {Field("/proc/self/status", "VmRSS:").value_or(0), Field("/proc/self/status", "VmHWM:").value_or(0)};
}

std::optional<int64_t> AvailableMemory() {
  std::optional<int64_t> available = Field("/proc/meminfo", "MemAvailable:");
  for (const auto& [limit, used] :
       {std::pair{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    const std::optional<int64_t> most = ReadNumber(limit), now = ReadNumber(used);
    // Half of what is used may be cached files, which make room.
    if (most && now && available) available = std::min(*available, std::max<int64_t>(0, *most - *now / 2));
  }
  return available;
}

MemoryPlan PlanMemory(const QuantizeJob& job, int threads) {
  const ActivationShape shape = job.activations();
  const Needs needs = NeedsOf(job, shape, threads);
  const ProcessMemory now = ReadProcessMemory();
  const int64_t fixed =
      now.resident + needs.weights + needs.scratch + std::max(needs.stage + needs.batch, needs.check);
  const int64_t slack = fixed / 32 + 8 * kMegabyte;

  MemoryPlan plan;
  plan.activations = shape.StateBytes(shape.rows());
  plan.least = std::max(now.peak, fixed + slack + shape.StateBytes(shape.LargestBatch()));
  const std::optional<int64_t> available = AvailableMemory();
  plan.budget = job.options.memory_bytes > 0 ? job.options.memory_bytes
                : available                  ? *available / 5 * 4
                                             : plan.least + plan.activations;
  if (job.options.memory_bytes > 0 && plan.budget < plan.least) {
    throw UsageError(Concat("--memory: this model and calibration need at least ", Megabytes(plan.least)));
  }
  if (available && job.options.memory_bytes == 0 && *available < plan.least) {
    throw Error(Concat("this needs at least ", Megabytes(plan.least), " of memory, ", Megabytes(*available),
                       " are available"),
                job.options.model.string(), "use a smaller --sequence-length or a machine with more memory");
  }
  const int64_t room = plan.budget - fixed - slack;
  plan.resident_batches = ActivationStore::ResidentBatches(shape, room);
  int64_t resident = 0;
  for (size_t i = 0; i < plan.resident_batches; ++i) resident += shape.StateBytes(shape.batches[i].rows());
  plan.spilled = plan.activations - resident;
  if (plan.spilled > 0) resident += shape.StateBytes(shape.LargestBatch());
  plan.peak = std::max(now.peak, fixed + resident);
  return plan;
}

}  // namespace gptq
