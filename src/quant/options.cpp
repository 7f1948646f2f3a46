#include "quant/options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace gptq {
namespace {

template <typename T, size_t N>
using Names = std::array<std::pair<std::string_view, T>, N>;

constexpr Names<Method, 2> kMethods{{{"gptq", Method::kGptq}, {"rtn", Method::kRoundToNearest}}};
constexpr Names<Order, 4> kOrders{{{"natural", Order::kNatural},
                                   {"activation", Order::kActivation},
                                   {"group", Order::kGroup},
                                   {"pivot", Order::kPivot}}};
constexpr Names<GroupGrid, 2> kGroupGrids{
    {{"up-to-date", GroupGrid::kUpToDate}, {"reference", GroupGrid::kReference}}};
constexpr Names<Clip, 3> kClips{{{"none", Clip::kNone}, {"mse", Clip::kMse}, {"hessian", Clip::kHessian}}};
constexpr Names<SymmetricGrid, 2> kSymmetricGrids{
    {{"plain", SymmetricGrid::kPlain}, {"full-range", SymmetricGrid::kFullRange}}};
constexpr Names<DType, 3> kScaleTypes{
    {{"float16", DType::kF16}, {"bfloat16", DType::kBF16}, {"float32", DType::kF32}}};

template <typename T, size_t N>
T Parse(const Names<T, N>& names, std::string_view option, std::string_view name) {
  std::string allowed;
  for (const auto& [known, value] : names) {
    if (known == name) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(known);
  }
  throw UsageError(Concat(option, " ", name, ": must be one of ", allowed));
}

template <typename T, size_t N>
std::string_view NameOf(const Names<T, N>& names, T value) {
  for (const auto& [name, known] : names) {
    if (known == value) return name;
  }
  CHECK(false);
}

}  // namespace

int64_t SolverOptions::GroupColumns(int64_t columns) const {
  return group_size < 0 ? std::max<int64_t>(columns, 1) : group_size;
}

int64_t SolverOptions::GroupCount(int64_t columns) const {
  const int64_t size = GroupColumns(columns);
  return columns / size + (columns % size != 0 ? 1 : 0);
}

SolverOptions ReferenceRecipe() {
  SolverOptions options;
  options.group_size = -1;
  options.symmetric = false;
  options.order = Order::kNatural;
  options.group_grid = GroupGrid::kReference;
  options.symmetric_grid = SymmetricGrid::kPlain;
  options.clip = Clip::kNone;
  options.refits = 0;
  options.scale_type = DType::kF32;
  return options;
}

void Validate(const SolverOptions& options) {
  if (!options.ternary && (options.bits < 2 || options.bits > 8)) {
    throw UsageError(Concat("--bits ", options.bits, ": must be 2 to 8, or 1.58 for ternary"));
  }
  if (options.group_size != -1 && options.group_size < 1) {
    throw UsageError(
        Concat("--group-size ", options.group_size, ": must be 1 or more, or -1 for whole rows"));
  }
  if (!(options.damping >= 0.0) || !std::isfinite(options.damping)) {
    throw UsageError(Concat("--damping ", options.damping, ": must be 0 or more"));
  }
  if (options.block_size < 1) {
    throw UsageError(Concat("--block-size ", options.block_size, ": must be 1 or more"));
  }
  if (options.refits < 0 || options.refits > 100) {
    throw UsageError(Concat("--refits ", options.refits, ": must be 0 to 100"));
  }
  if (options.sweeps < 0 || options.sweeps > 100) {
    throw UsageError(Concat("--sweeps ", options.sweeps, ": must be 0 to 100"));
  }
  if (options.minimum_zero != 0 && options.minimum_zero != 1) {
    throw UsageError(Concat("minimum zero ", options.minimum_zero, ": must be 0 or 1"));
  }
  if (options.ternary && options.clip != Clip::kNone) {
    throw UsageError("--clip: a ternary grid has no range to clip; use --clip none with --bits 1.58");
  }
  static_cast<void>(NameOf(kScaleTypes, options.scale_type));
}

std::string_view Name(Method method) { return NameOf(kMethods, method); }
std::string_view Name(Order order) { return NameOf(kOrders, order); }
std::string_view Name(GroupGrid grid) { return NameOf(kGroupGrids, grid); }
std::string_view Name(Clip clip) { return NameOf(kClips, clip); }
std::string_view Name(SymmetricGrid grid) { return NameOf(kSymmetricGrids, grid); }

Method ParseMethod(std::string_view name) { return Parse(kMethods, "--method", name); }
Order ParseOrder(std::string_view name) { return Parse(kOrders, "--order", name); }
GroupGrid ParseGroupGrid(std::string_view name) { return Parse(kGroupGrids, "--group-grid", name); }
Clip ParseClip(std::string_view name) { return Parse(kClips, "--clip", name); }
SymmetricGrid ParseSymmetricGrid(std::string_view name) {
  return Parse(kSymmetricGrids, "--symmetric-grid", name);
}
DType ParseScaleType(std::string_view name) { return Parse(kScaleTypes, "--scale-type", name); }

void SetBits(std::string_view text, SolverOptions& options) {
  options.ternary = text == "1.58";
  if (options.ternary) return;
  if (text.size() != 1 || text[0] < '2' || text[0] > '8') {
    throw UsageError(Concat("--bits ", text, ": must be 2 to 8, or 1.58 for ternary"));
  }
  options.bits = text[0] - '0';
}

std::string BitsText(const SolverOptions& options) {
  return options.ternary ? "1.58" : std::to_string(options.bits);
}

}  // namespace gptq
