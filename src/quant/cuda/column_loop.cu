// The column loop. A matrix product brings later columns up to date after each step, another one all columns
// behind after each block, as on the processor; all rows go side by side.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "quant/clip_search.h"
#include "quant/cuda/grid_rule.cuh"
#include "quant/cuda/solution.h"
#include "quant/cuda/substitution.cuh"

namespace gptq::cuda {
namespace {

constexpr int64_t kLongestStep = 128;
constexpr int kSlices = 8;  // of the columns of a group, whose ranges are joined

constexpr int64_t kWideGroup = 128;  // columns; of wider ones a block tries fewer rows, to fit its memory
constexpr int kWideThreads = 64;

__device__ int64_t RowIndex() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// GridFinder::Ranges. A block of 32 x kSlices threads does 32 rows. `ranges` [2][rows]: minima, maxima.
__global__ void FindRanges(GridRule rule, const float* values, int64_t count, int64_t rows, float* ranges) {
  __shared__ float minima[kSlices][32], maxima[kSlices][32];
  WaitForPrevious();
  LetNextBegin();
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 32 + lane;
  float minimum = 0, maximum = 0;
#pragma unroll 4
  for (int64_t c = slice; c < count; c += kSlices) {
    const float value = values[c * rows + row];
    minimum = value < minimum ? value : minimum;
    maximum = maximum < value ? value : maximum;
  }
  minima[slice][lane] = minimum;
  maxima[slice][lane] = maximum;
  __syncthreads();
  if (slice != 0) return;
  for (int s = 1; s < kSlices; ++s) {
    minimum = minima[s][lane] < minimum ? minima[s][lane] : minimum;
    maximum = maximum < maxima[s][lane] ? maxima[s][lane] : maximum;
  }
  if (rule.symmetric && !rule.full_range) {
    maximum = -minimum < maximum ? maximum : -minimum;
    if (minimum < 0) minimum = -maximum;
  }
  const bool empty = minimum == 0 && maximum == 0;
  ranges[row] = empty ? -1.0f : minimum;
  ranges[rows + row] = empty ? 1.0f : maximum;
}

// Clip::kHessian: each trial's sum of e² in the column loop of the group. `losses` [trials][rows].
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    TryGrids(GridRule rule, int count, const float* upper, int64_t stride, const float* values, int64_t rows,
             const float* ranges, double* losses) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  const Grid grid = TrialGrid(rule, static_cast<int>(blockIdx.y), ranges[row], ranges[rows + row]);
  float loss = 0;
  Substitute<kThreads>(count, upper, stride, values + row, rows, [&](int, float w, float pivot) {
    const float q = __fmul_rn(grid.scale, GridSteps(w, grid, rule.maximum_code));
    const float error = __fdiv_rn(w - q, pivot);
    loss += error * error;
    return error;
  });
  losses[blockIdx.y * rows + row] = static_cast<double>(loss);
}

// The same without the updates inside the group.
__global__ void TryGridsApart(GridRule rule, int64_t count, const float* pivots, const float* values,
                              int64_t rows, const float* ranges, double* losses) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  const Grid grid = TrialGrid(rule, static_cast<int>(blockIdx.y), ranges[row], ranges[rows + row]);
  float loss = 0;
#pragma unroll 4
  for (int64_t c = 0; c < count; ++c) {
    const float w = values[c * rows + row];
    const float error =
        __fdiv_rn(w - __fmul_rn(grid.scale, GridSteps(w, grid, rule.maximum_code)), pivots[c]);
    loss += error * error;
  }
  losses[blockIdx.y * rows + row] = static_cast<double>(loss);
}

// x^1.2 for x in [0, 4]; see grid.cpp.
__device__ float PowerOnePointTwo(float x) {
  const float t = x + 1e-30f;
  const auto bits = static_cast<float>(static_cast<int>(__float_as_uint(t)));
  float root = __uint_as_float(static_cast<unsigned>(static_cast<int>(bits * 0.2f) + 0x32ca0000));
  for (int i = 0; i < 3; ++i) {
    const float square = root * root;
    root = 0.8f * root + 0.2f * t / (square * square);
  }
  return x * root;
}

// Clip::kMse: each trial's sum of |q - w|^2.4.
__global__ void TryPowers(GridRule rule, int64_t count, const float* values, int64_t rows,
                          const float* ranges, double* losses) {
  WaitForPrevious();
  LetNextBegin();
  constexpr int64_t kChunk = 64;  // columns summed in float32 before the sum goes to double
  const int64_t row = RowIndex();
  const float minimum = ranges[row], maximum = ranges[rows + row];
  const Grid grid = TrialGrid(rule, static_cast<int>(blockIdx.y), minimum, maximum);
  const float unit = __fdiv_rn(1.0f, fmaxf(fmaxf(-minimum, maximum), 0x1p-126f));
  double loss = 0;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t end = begin + kChunk < count ? begin + kChunk : count;
    float partial = 0;
    for (int64_t c = begin; c < end; ++c) {
      const float w = values[c * rows + row];
      const float error = (__fmul_rn(grid.scale, GridSteps(w, grid, rule.maximum_code)) - w) * unit;
      partial += PowerOnePointTwo(error * error);
    }
    loss += static_cast<double>(partial);
  }
  losses[blockIdx.y * rows + row] = loss;
}

// The first trial of least loss.
__global__ void ChooseGrids(GridRule rule, int trials, const float* ranges, const double* losses,
                            int64_t rows, float* scales, float* zeros) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  int best = 0;
  // Losses that overflow compare as false.
  double least = trials > 1 ? losses[row] : 0;
  for (int trial = 1; trial < trials; ++trial) {
    const double loss = losses[trial * rows + row];
    if (!(loss < least)) continue;
    best = trial;
    least = loss;
  }
  const Grid grid = TrialGrid(rule, best, ranges[row], ranges[rows + row]);
  scales[row] = grid.scale;
  zeros[row] = grid.zero;
}

// `values` (in: w, out: q), `codes`, `errors` [count][rows]; adds sum e² to `losses` [rows].
__global__ void __launch_bounds__(kRowThreads)
    SolveStep(float maximum_code, int count, const float* upper, int64_t stride, const float* scales,
              const float* zeros, int64_t rows, float* values, uint8_t* codes, float* errors,
              double* losses) {
  WaitForPrevious();
  LetNextBegin();
  const int64_t row = RowIndex();
  const Grid grid{scales[row], zeros[row]};
  float loss = 0;
  Substitute<kRowThreads>(count, upper, stride, values + row, rows, [&](int j, float w, float pivot) {
    const float steps = GridSteps(w, grid, maximum_code);
    const float q = __fmul_rn(grid.scale, steps);
    const float error = __fdiv_rn(w - q, pivot);
    loss += error * error;
    values[j * rows + row] = q;
    codes[j * rows + row] = static_cast<uint8_t>(static_cast<int>(steps + grid.zero));
    errors[j * rows + row] = error;
    return error;
  });
  losses[row] += static_cast<double>(loss);
}

struct Run {  // positions of one group
  int64_t begin, end;
  int32_t group;
};

std::vector<Run> FindRuns(const ColumnOrder& order) {
  CHECK(order.contiguous);
  std::vector<Run> runs;
  for (int64_t p = 0; p < static_cast<int64_t>(order.columns.size()); ++p) {
    const int32_t group = order.group_index[order.columns[p]];
    if (runs.empty() || runs.back().group != group) runs.push_back({p, p, group});
    runs.back().end = p + 1;
  }
  CHECK(static_cast<int64_t>(runs.size()) == order.groups);
  return runs;
}

class ColumnLoop {
 public:
  ColumnLoop(const Metric& metric, const SolverOptions& options, Solution& solution)
      : device_(*metric.hessian().device),
        metric_(metric),
        rule_(MakeGridRule(options)),
        block_size_(options.block_size),
        solution_(solution),
        rows_(solution.rows),
        columns_(metric.hessian().columns),
        runs_(FindRuns(metric.order())),
        ranges_(device_, 2 * rows_),
        trial_losses_(device_, TrialCount(rule_.clip) * rows_),
        losses_(device_, rows_),
        errors_(device_, std::min(block_size_, columns_) * rows_) {}

  double Solve() {
    device_.Zero(losses_.get(), rows_ * static_cast<int64_t>(sizeof(double)));
    size_t run = 0;
    for (int64_t begin = 0; begin < columns_;) {
      const int64_t end = BlockEnd(run, begin);
      for (int64_t from = begin; from < end;) {
        if (runs_[run].begin == from) FindGrid(runs_[run]);
        const int64_t to = std::min({from + kLongestStep, end, runs_[run].end});
        Step(runs_[run].group, begin, from, to);
        UpdateLater(begin, from, to, to, end);
        if (to == runs_[run].end) ++run;
        from = to;
      }
      UpdateLater(begin, begin, end, end, columns_);
      begin = end;
    }
    const std::vector<double> losses = ToVector(device_, losses_.get(), solution_.given_rows);
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  }

 private:
  // Blocks end early where a group begins that reaches beyond: see Schedule::BlockEnd.
  int64_t BlockEnd(size_t run, int64_t begin) const {
    const int64_t end = std::min(begin + block_size_, columns_);
    for (; run < runs_.size() && runs_[run].begin < end; ++run) {
      if (runs_[run].begin > begin && runs_[run].end > end) return runs_[run].begin;
    }
    return end;
  }

  float* column(int64_t position) const { return solution_.values.get() + position * rows_; }
  const float* upper(int64_t i, int64_t j) const { return metric_.upper() + i * columns_ + j; }
  Geometry Rows(int64_t trials = 1, int64_t shared_bytes = 0) const {
    return {.blocks_x = rows_ / kRowThreads,
            .blocks_y = trials,
            .threads = kRowThreads,
            .shared_bytes = shared_bytes};
  }

  void FindGrid(const Run& run) {
    const int64_t count = run.end - run.begin;
    const float* const values = column(run.begin);
    GPTQ_LAUNCH(device_, FindRanges, Geometry{.blocks_x = rows_ / 32, .threads = 32 * kSlices}, rule_, values,
                count, rows_, ranges_.get());
    const int trials = TrialCount(rule_.clip);
    if (rule_.clip == Clip::kMse) {
      GPTQ_LAUNCH(device_, TryPowers, Rows(trials), rule_, count, values, rows_, ranges_.get(),
                  trial_losses_.get());
    } else if (rule_.clip == Clip::kHessian && count <= ClipSearch::kLargestGroup) {
      if (count <= kWideGroup) {
        TryGroup<kRowThreads>(TryGrids<kRowThreads>, run, trials);
      } else {
        TryGroup<kWideThreads>(TryGrids<kWideThreads>, run, trials);
      }
    } else if (rule_.clip == Clip::kHessian) {
      GPTQ_LAUNCH(device_, TryGridsApart, Rows(trials), rule_, count, metric_.pivots() + run.begin, values,
                  rows_, ranges_.get(), trial_losses_.get());
    }
    GPTQ_LAUNCH(device_, ChooseGrids, Rows(), rule_, trials, ranges_.get(), trial_losses_.get(), rows_,
                solution_.scales.get() + run.group * rows_, solution_.zeros.get() + run.group * rows_);
  }

  template <int kThreads, typename Kernel>
  void TryGroup(const Kernel& try_grids, const Run& run, int trials) {
    const int64_t count = run.end - run.begin;
    const Geometry geometry{.blocks_x = rows_ / kThreads,
                            .blocks_y = trials,
                            .threads = kThreads,
                            .shared_bytes = SubstitutionBytes(count, kThreads)};
    GPTQ_LAUNCH(device_, try_grids, geometry, rule_, count, upper(run.begin, run.begin), columns_,
                column(run.begin), rows_, ranges_.get(), trial_losses_.get());
  }

  void Step(int32_t group, int64_t block, int64_t from, int64_t to) {
    GPTQ_LAUNCH(device_, SolveStep, Rows(1, SubstitutionBytes(to - from)), rule_.maximum_code, to - from,
                upper(from, from), columns_, solution_.scales.get() + group * rows_,
                solution_.zeros.get() + group * rows_, rows_, column(from),
                solution_.codes.get() + from * rows_, errors_.get() + (from - block) * rows_, losses_.get());
  }

  // Columns [later, end) -= Uᵀ E for the solved columns [from, to) of the block that starts at `block`.
  void UpdateLater(int64_t block, int64_t from, int64_t to, int64_t later, int64_t end) {
    if (later >= end) return;
    device_.FloatOuterProduct(end - later, rows_, to - from, -1.0f, {upper(from, later), columns_},
                              {errors_.get() + (from - block) * rows_, rows_}, {column(later), rows_});
  }

  Device& device_;
  const Metric& metric_;
  const GridRule rule_;
  const int64_t block_size_;
  Solution& solution_;
  const int64_t rows_, columns_;
  const std::vector<Run> runs_;
  DeviceArray<float> ranges_;
  DeviceArray<double> trial_losses_, losses_;
  DeviceArray<float> errors_;  // E of the current block
};

}  // namespace

double RunColumnLoop(const Metric& metric, const SolverOptions& options, Solution& solution) {
  return ColumnLoop(metric, options, solution).Solve();
}

}  // namespace gptq::cuda
