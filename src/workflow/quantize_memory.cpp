#include "workflow/quantize_memory.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>
#include <string>

#include "quant/grid.h"
#include "workflow/quantize_head.h"
#include "workflow/stage_statistics.h"

namespace gptq {
namespace {

constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
constexpr int64_t kMegabyte = 1'000'000;

constexpr int64_t kPanels = int64_t{32} << 20;  // of weights that the backend expands at once
constexpr int64_t kThread = 4 * kMegabyte;      // what a thread keeps for its work
constexpr int64_t kRounded = 2048 * 2;          // bytes of an input column that is rounded to 16 bits at once

int64_t Elements(const LinearLayer& linear) { return linear.weight.rows() * linear.weight.columns(); }

// Walks through a run in thought and keeps the largest sum of what is held at one time, but for the
// activations between stages.
class Walk {
 public:
  Walk(const QuantizeJob& job, int threads)
      : job_(job),
        threads_(threads),
        shape_(job.activations()),
        rows_(shape_.LargestBatch()),
        streams_(job.shifted() ? 2 : 1) {}

  // Of all blocks, beside the scratch memory; a stage's statistics take `statistics` bytes or one unit's.
  int64_t Blocks(int64_t statistics) {
    most_ = 0;
    for (const Block& block : job_.decoder->blocks()) {
      held_ = 0;
      for (size_t stage = 0; stage < block.stages().size(); ++stage)
        Pass(block.stages()[stage], block.InputColumns(stage), statistics);
    }
    return most_;
  }

  // Of the stage whose statistics take most, of all its units; of the largest unit.
  std::pair<int64_t, int64_t> Statistics() const {
    int64_t all = 0, largest = 0;
    for (const Block& block : job_.decoder->blocks()) {
      for (const Stage& stage : block.stages()) {
        int64_t sum = 0;
        for (const StatisticsUnit& unit : job_.Units(stage)) {
          sum += unit.Bytes();
          largest = std::max(largest, unit.Bytes());
        }
        all = std::max(all, sum);
      }
    }
    return {all, largest};
  }

  // What the backend keeps from product to product.
  int64_t Scratch() const {
    std::array<int64_t, Backend::kScratchSlots> slots{};
    int64_t largest = 0, widest = 0;
    for (const Block& block : job_.decoder->blocks()) {
      const auto columns = block.ScratchColumns();
      for (size_t slot = 0; slot < slots.size(); ++slot) slots[slot] = std::max(slots[slot], columns[slot]);
      for (const Stage& stage : block.stages()) {
        for (const LinearLayer& linear : stage.linears) {
          largest = std::max(largest, Elements(linear) * kFloatBytes);
          widest = std::max(widest, linear.weight.columns());
        }
      }
    }
    const int64_t columns = std::accumulate(slots.begin(), slots.end(), int64_t{0});
    return rows_ * columns * kFloatBytes + std::min(largest, kPanels) + widest * kRounded +
           threads_ * kThread;
  }

  // Embeddings at the beginning; logits of both models and the head at the end.
  int64_t Ends() const {
    const ModelSpec& spec = job_.model->spec();
    const CheckpointSource& source = job_.model->source();
    const int64_t matrix = spec.vocabulary * spec.embedding_width, logits = kCheckTokens * spec.vocabulary;
    const int64_t stored =
        std::max(source.StoredBytes(spec.Name("embedding")), source.StoredBytes(spec.Name("head")));
    const int64_t ends =
        2 * logits * kFloatBytes + std::min(matrix * kFloatBytes, kPanels) + std::max(stored, matrix * 2);
    const PlannedLinear* head = PlannedHead(job_);
    if (head == nullptr) return ends;
    // Its codes; H, U in both forms and the metric of a refinement; what Solve counts, of a piece of its
    // rows.
    const int64_t square = head->columns * head->columns * kFloatBytes;
    return std::max(ends, matrix * 2 + stored + 5 * square + rows_ * head->columns * kFloatBytes +
                              HeadPiece(*head) * head->columns * (2 * kFloatBytes + 2) +
                              threads_ * kTileRows * head->columns * 4 * kFloatBytes);
  }

 private:
  void Hold(int64_t bytes) { most_ = std::max(most_, held_ + bytes); }

  bool planned(const LinearLayer& linear) const { return job_.plan.contains(linear.name); }

  void Pass(const Stage& stage, int64_t input_columns, int64_t statistics_bytes) {
    const bool weighted = job_.options.token_weighting != TokenWeighting::kNone;
    Hold(rows_ * input_columns * kFloatBytes);
    const std::vector<StatisticsUnit> units = job_.Units(stage);
    for (const auto part : PartsInMemory(units, statistics_bytes)) {
      int64_t sums = 0, statistics = 0, widest = 0;
      for (const StatisticsUnit& unit : part) {
        sums += unit.Bytes();
        statistics += unit.Outputs() * unit.columns * kFloatBytes;
        widest = std::max(widest, unit.columns);
      }
      const int64_t copies = (weighted ? streams_ : 0) + (streams_ > 1 ? 1 : 0);  // of an input
      const int64_t residuals = weighted && job_.options.residual_correction != 0 ? 2 * shape_.hidden : 0;
      Hold(sums + rows_ * (input_columns + widest * copies + residuals) * kFloatBytes);
      for (const StatisticsUnit& unit : part) {
        const int64_t square = unit.columns * unit.columns * kFloatBytes;
        Hold(statistics + 3 * square + square / 16);  // U and its float64 form
        for (const size_t group : unit.groups) Solve(stage, stage.groups[group], statistics);
      }
    }
    // Those of no unit.
    for (const LinearGroup& group : stage.groups) {
      if (std::ranges::none_of(units, [&](const StatisticsUnit& unit) {
            return std::ranges::count(unit.groups, static_cast<size_t>(&group - stage.groups.data())) > 0;
          }))
        Solve(stage, group, 0);
    }
  }

  void Solve(const Stage& stage, const LinearGroup& group, int64_t statistics) {
    for (size_t i = group.first; i < group.first + group.count; ++i) {
      const LinearLayer& linear = stage.linears[i];
      const int64_t n = linear.weight.columns(), square = n * n * kFloatBytes;
      const int64_t stored = job_.model->source().StoredBytes(linear.name);
      if (planned(linear)) {
        const SolverOptions& solver = job_.plan.at(linear.name).solver;
        const bool refined = solver.refits > 0 || solver.sweeps > 0;
        // U and the metric of a refinement; the weight, its target, what it becomes and codes twice; a tile
        // of each thread.
        const int64_t target = job_.shifted() ? kFloatBytes : 0;
        Hold((statistics > 0 ? statistics + square * (refined ? 2 : 1) : 0) + stored +
             Elements(linear) * (2 * kFloatBytes + 2 + target) + threads_ * kTileRows * n * 4 * kFloatBytes);
        held_ += Elements(linear) + (job_.shifted() ? stored : 0);
      } else {
        held_ += stored;
      }
    }
  }

  const QuantizeJob& job_;
  int threads_;
  ActivationShape shape_;
  int64_t rows_;
  int streams_;
  int64_t held_ = 0;  // of the block's weights
  int64_t most_ = 0;
};

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

MemoryPlan PlanMemory(const QuantizeJob& job, int threads, const ProcessMemory& now) {
  const ActivationShape shape = job.activations();
  Walk walk(job, threads);
  const int64_t always = now.resident + walk.Scratch();
  const auto [all_statistics, largest_statistics] = walk.Statistics();
  int64_t blocks = always + walk.Blocks(0);
  const int64_t ends = always + walk.Ends(), slack = blocks / 32 + 8 * kMegabyte;

  MemoryPlan plan;
  plan.activations = shape.StateBytes(shape.rows());
  plan.least = std::max({now.peak, ends + slack, blocks + slack + shape.StateBytes(shape.LargestBatch())});
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
  // Statistics of more experts at a time spare passes through the activations: they get what the activations
  // leave, or half of what there is.
  const int64_t beyond = plan.budget - blocks - slack;
  plan.statistics = largest_statistics + std::max(beyond / 2, beyond - plan.activations);
  plan.statistics = std::clamp(plan.statistics, largest_statistics, all_statistics);
  blocks = always + walk.Blocks(plan.statistics);
  const int64_t room = plan.budget - blocks - slack;
  plan.resident_batches = ActivationStore::ResidentBatches(shape, room);
  int64_t resident = 0;
  for (size_t i = 0; i < plan.resident_batches; ++i) resident += shape.StateBytes(shape.batches[i].rows());
  plan.spilled = plan.activations - resident;
  if (plan.spilled > 0) resident += shape.StateBytes(shape.LargestBatch());
  plan.peak = std::max({now.peak, ends + slack, blocks + slack + resident});
  return plan;
}

}  // namespace gptq
