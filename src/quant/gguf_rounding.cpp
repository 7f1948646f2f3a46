#include "quant/gguf_rounding.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "base/integer.h"

namespace gptq {
namespace {

constexpr float kGreatestHalf = 65504.0f;

float ToHalf(float value) {
  return HalfToFloat(FloatToHalf(std::clamp(value, -kGreatestHalf, kGreatestHalf)));
}

// value = scale * code + minimum, code from `least` on.
struct Line {
  float scale = 0, minimum = 0;
};

// All groups are of a multiple of kLanes weights; sums go in as many lanes, which compilers turn into
// vectors.
constexpr int64_t kLanes = 8;

struct Group {
  const float* values;
  const float* importance;
  int64_t count;
};

// Half to even, for |x| < 2^22.
inline float Round(float x) {
  constexpr float kMagic = 12582912.0f;
  return (x + kMagic) - kMagic;
}

// The bounds are integers: clamping first is the same. NaN becomes the least.
inline float Code(float value, const Line& line, float least, float greatest) {
  if (line.scale == 0.0f) return 0;
  const float code = (value - line.minimum) / line.scale;
  const float raised = code > least ? code : least;
  return Round(raised < greatest ? raised : greatest);
}

inline float Sum(const float* lanes) {
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

float ErrorOf(const Group& group, const Line& line, float least, float greatest) {
  float error[kLanes] = {};
  for (int64_t begin = 0; begin < group.count; begin += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) {
      const float value = group.values[begin + i];
      const float difference = line.scale * Code(value, line, least, greatest) + line.minimum - value;
      error[i] += group.importance[begin + i] * difference * difference;
    }
  }
  return Sum(error);
}

// Sums over a group and its codes q.
struct LineSums {
  float w = 0, wq = 0, wqq = 0, wx = 0, wxq = 0;
};

LineSums SumsOf(const Group& group, const Line& line, float least, float greatest) {
  float w[kLanes] = {}, wq[kLanes] = {}, wqq[kLanes] = {}, wx[kLanes] = {}, wxq[kLanes] = {};
  for (int64_t begin = 0; begin < group.count; begin += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) {
      const float weight = group.importance[begin + i], x = group.values[begin + i];
      const float q = Code(x, line, least, greatest);
      w[i] += weight;
      wq[i] += weight * q;
      wqq[i] += weight * q * q;
      wx[i] += weight * x;
      wxq[i] += weight * x * q;
    }
  }
  return {Sum(w), Sum(wq), Sum(wqq), Sum(wx), Sum(wxq)};
}

// Keeps the best of the candidates that it is shown.
class Best {
 public:
  Best(const Group& group, float least, float greatest) : group_(group), least_(least), greatest_(greatest) {}
  void Try(const Line& line) {
    if (!std::isfinite(line.scale) || !std::isfinite(line.minimum)) return;
    const float error = ErrorOf(group_, line, least_, greatest_);
    if (tried_ && !(error < error_)) return;
    tried_ = true;
    error_ = error;
    line_ = line;
  }
  const Line& line() const { return line_; }

 private:
  const Group& group_;
  float least_, greatest_;
  bool tried_ = false;
  float error_ = 0;
  Line line_;
};

// Scales around the one that maps the greatest weight to the end of the grid, each fitted to its codes.
Line FitSymmetric(const Group& group, int bits) {
  const auto middle = static_cast<float>(1 << (bits - 1));
  const float* extreme = std::max_element(group.values, group.values + group.count,
                                          [](float a, float b) { return std::abs(a) < std::abs(b); });
  Best best(group, -middle, middle - 1);
  best.Try({});
  if (*extreme == 0.0f) return best.line();
  const int steps = bits > 6 ? 1 : 9;
  for (int step = -steps; step <= steps; ++step) {
    const Line start{-*extreme / (middle + 0.1f * static_cast<float>(step)), 0};
    best.Try(start);
    const LineSums sums = SumsOf(group, start, -middle, middle - 1);
    if (sums.wqq > 0) best.Try({sums.wxq / sums.wqq, 0});
  }
  return best.line();
}

// Ranges around that of the weights, each line fitted to its codes. `downwards`: no minimum above 0.
Line FitRange(const Group& group, int bits, bool downwards) {
  const auto greatest = static_cast<float>((1 << bits) - 1);
  const auto [low, high] = std::minmax_element(group.values, group.values + group.count);
  const float least = downwards ? std::min(*low, 0.0f) : *low;
  Best best(group, 0, greatest);
  best.Try({0, least});
  const float range = std::max(*high, downwards ? 0.0f : *high) - least;
  if (!(range > 0)) return best.line();
  for (int step = -5; step <= 14; ++step) {
    Line line{range / (greatest + 0.1f * static_cast<float>(step)), least};
    best.Try(line);
    for (int round = 0; round < 2; ++round) {
      const LineSums sums = SumsOf(group, line, 0, greatest);
      const float determinant = sums.w * sums.wqq - sums.wq * sums.wq;
      if (!(determinant > 0)) break;
      line.scale = (sums.w * sums.wxq - sums.wx * sums.wq) / determinant;
      line.minimum = (sums.wqq * sums.wx - sums.wq * sums.wxq) / determinant;
      if (downwards && line.minimum > 0) {
        line.minimum = 0;
        line.scale = sums.wqq > 0 ? sums.wxq / sums.wqq : 0;
      }
      if (!(line.scale > 0)) break;
      best.Try(line);
    }
  }
  return best.line();
}

float LeastCode(const GgufBlockType& type) { return static_cast<float>(-type.middle()); }
float GreatestCode(const GgufBlockType& type) {
  return LeastCode(type) + static_cast<float>(type.maximum_code());
}

Line LineOf(const GgufBlockType& type, const GgufBlockGrid& grid, int64_t g) {
  return {grid.GroupScale(type, g), grid.GroupMinimum(type, g)};
}

int16_t Multiple(float value, float unit, int least, int greatest) {
  if (unit == 0.0f) return 0;
  return static_cast<int16_t>(
      std::clamp(Round(value / unit), static_cast<float>(least), static_cast<float>(greatest)));
}

// Moves one group's integers while that lowers its error.
void ImproveGroup(const GgufBlockType& type, const Group& group, int64_t g, GgufBlockGrid& grid) {
  const auto error = [&] {
    return ErrorOf(group, LineOf(type, grid, g), LeastCode(type), GreatestCode(type));
  };
  float best = error();
  const auto tries = [&](int16_t& value, int least, int greatest) {
    for (const int change : {-1, 1}) {
      while (value + change >= least && value + change <= greatest) {
        value = static_cast<int16_t>(value + change);
        const float changed = error();
        if (!(changed < best)) {
          value = static_cast<int16_t>(value - change);
          break;
        }
        best = changed;
      }
    }
  };
  for (int round = 0; round < 2; ++round) {
    tries(grid.scales[static_cast<size_t>(g)], type.least_scale, type.greatest_scale);
    if (type.minima) tries(grid.minima[static_cast<size_t>(g)], 0, type.greatest_scale);
  }
}

// The unit of a super-block's integers: the value that lies farthest out becomes the last of them.
float Unit(const Line* lines, int64_t groups, float Line::*member, float last) {
  float extreme = 0;
  for (int64_t g = 0; g < groups; ++g) {
    if (std::abs(lines[g].*member) > std::abs(extreme)) extreme = lines[g].*member;
  }
  return ToHalf(extreme / last);
}

}  // namespace

GgufBlockGrid FitGgufBlock(const GgufBlockType& type, const float* values, const float* importance) {
  Line lines[kMostBlockGroups];
  float alike[kMostBlockColumns];
  if (importance == nullptr) {
    std::fill_n(alike, type.columns, 1.0f);
    importance = alike;
  }
  const auto group = [&](int64_t g) {
    const int64_t begin = g * type.group_columns;
    return Group{values + begin, importance + begin, type.group_columns};
  };
  for (int64_t g = 0; g < type.groups(); ++g) {
    lines[g] = type.minima ? FitRange(group(g), type.bits, type.super()) : FitSymmetric(group(g), type.bits);
  }
  GgufBlockGrid grid;
  if (!type.super()) {
    grid.scale = ToHalf(lines[0].scale);
    grid.minimum = ToHalf(lines[0].minimum);
    return grid;
  }
  const int last = type.least_scale < 0 ? type.least_scale : type.greatest_scale;
  grid.scale = Unit(lines, type.groups(), &Line::scale, static_cast<float>(last));
  if (type.minima) {
    grid.minimum = Unit(lines, type.groups(), &Line::minimum, -static_cast<float>(type.greatest_scale));
  }
  for (int64_t g = 0; g < type.groups(); ++g) {
    grid.scales[static_cast<size_t>(g)] =
        Multiple(lines[g].scale, grid.scale, type.least_scale, type.greatest_scale);
    if (type.minima) {
      grid.minima[static_cast<size_t>(g)] = Multiple(-lines[g].minimum, grid.minimum, 0, type.greatest_scale);
    }
    ImproveGroup(type, group(g), g, grid);
  }
  return grid;
}

void RoundGgufBlock(const GgufBlockType& type, const GgufBlockGrid& grid, const float* values,
                    uint8_t* codes) {
  for (int64_t c = 0; c < type.columns; ++c) {
    const float code =
        Code(values[c], LineOf(type, grid, c / type.group_columns), LeastCode(type), GreatestCode(type));
    codes[c] = static_cast<uint8_t>(static_cast<int>(code) + type.middle());
  }
}

void RoundToGguf(DType dtype, const float* values, int64_t count, std::byte* blocks) {
  const GgufBlockType* type = FindGgufBlockType(dtype);
  CHECK(type != nullptr && count % type->columns == 0);
  uint8_t codes[kMostBlockColumns];
  for (int64_t i = 0; i < count; i += type->columns, blocks += ByteSize(dtype, type->columns)) {
    const GgufBlockGrid grid = FitGgufBlock(*type, values + i, nullptr);
    RoundGgufBlock(*type, grid, values + i, codes);
    EncodeGgufBlock(*type, grid, codes, blocks);
  }
}

void RoundToGguf(DType dtype, const float* values, int64_t count, std::byte* blocks, ThreadPool& pool) {
  constexpr int64_t kPiece = 16 * kMostBlockColumns;  // whole blocks of any type
  pool.ParallelFor(CeilDivide(count, kPiece), [&](int64_t i) {
    const int64_t first = i * kPiece;
    RoundToGguf(dtype, values + first, std::min(kPiece, count - first), blocks + ByteSize(dtype, first));
  });
}

}  // namespace gptq
