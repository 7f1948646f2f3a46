// What the user can choose about quantizing one matrix.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/dtype.h"

namespace gptq {

enum class Method { kGptq, kRoundToNearest };
// In which order the columns are solved.
enum class Order {
  kNatural,
  kActivation,  // by falling diagonal of H; without static groups the groups are runs of this order (g_idx)
  kGroup,       // by falling diagonal inside each group, then whole groups by their largest entry
  kPivot,  // as kGroup, by the place in the order of least pivots (arXiv 2507.18553) instead of the diagonal
};
// Which weights a group's grid is taken from.
enum class GroupGrid {
  kUpToDate,   // with every update of the columns solved before
  kReference,  // as the published program: without the updates made inside the current block
};
enum class Clip {
  kNone,     // the grid spans the least and greatest weight
  kMse,      // the range that minimises sum |q - w|^2.4, by 80 shrinking steps
  kHessian,  // the range that minimises the group's own sum of e² in the column loop, by 20 shrinking steps
};
enum class SymmetricGrid {
  kPlain,      // steps of (greatest |w|) / (2^bits - 1) * 2, as the published program
  kFullRange,  // (greatest |w|) / 2^(bits-1), of either sign: the greatest weight becomes code 0
};

struct SolverOptions {
  int bits = 4;          // 2..8
  bool ternary = false;  // {minimum, 0, maximum} of the group instead of a uniform grid; `bits` is not used
  int64_t group_size = 128;  // columns that share a scale; -1 = the whole row
  bool symmetric = true;
  SymmetricGrid symmetric_grid = SymmetricGrid::kFullRange;
  Order order = Order::kGroup;
  bool static_groups = false;  // all grids from the given weights, before the column loop
  GroupGrid group_grid = GroupGrid::kUpToDate;
  Clip clip = Clip::kHessian;
  int refits = 1;            // rounds of fitting scales and zeros to the codes, and codes to these: refine.h;
                             // none for ternary grids
  int sweeps = 0;            // of coordinate descent over the finished codes: refine.h
  double damping = 0.01;     // of the mean of H's diagonal
  int64_t block_size = 128;  // columns whose updates of later columns are gathered; changes round-off only,
                             // except under GroupGrid::kReference
  DType scale_type =
      DType::kF16;  // scales are rounded to this type before they are used: kF16, kBF16 or kF32
  std::optional<DType> gguf_type;  // blocks of this type, on its own grids; set by SetGgufType (gguf_tile.h)
  int minimum_zero = 0;            // 1 where the format cannot hold a zero of 0 (asymmetric GPTQ v1)

  int maximum_code() const { return ternary ? 2 : (1 << bits) - 1; }
  int64_t GroupColumns(int64_t columns) const;  // of a full group
  int64_t GroupCount(int64_t columns) const;
};

// Every setting as in the published program (IST-DASLab/gptq); bits, group size, symmetry, activation order,
// static groups and clip are that program's own options and keep their values here: 4 bits, whole rows,
// asymmetric, natural order, minimum and maximum.
SolverOptions ReferenceRecipe();

// Throws UsageError naming the first option whose value is impossible.
void Validate(const SolverOptions& options);

// Names as on the command line. The parsers throw UsageError naming the option.
std::string_view Name(Method method);
std::string_view Name(Order order);
std::string_view Name(GroupGrid grid);
std::string_view Name(Clip clip);
std::string_view Name(SymmetricGrid grid);
Method ParseMethod(std::string_view name);
Order ParseOrder(std::string_view name);
GroupGrid ParseGroupGrid(std::string_view name);
Clip ParseClip(std::string_view name);
SymmetricGrid ParseSymmetricGrid(std::string_view name);
DType ParseScaleType(std::string_view name);  // float16, bfloat16, float32
// "2" .. "8", or "1.58" for ternary.
void SetBits(std::string_view text, SolverOptions& options);
std::string BitsText(const SolverOptions& options);

}  // namespace gptq
