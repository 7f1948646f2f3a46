#include "quant/recipe.h"

#include "base/error.h"

namespace gptq {

SolverOptions ResolveSolverOptions(const QualityOptions& given, DType default_scale_type) {
  if (given.recipe != "default" && given.recipe != "reference" && given.recipe != "best")
    throw UsageError(Concat("--recipe ", given.recipe, " is not known; known are default, reference, best"));
  SolverOptions solver;
  if (given.recipe == "reference") {
    // Bits, group size and symmetry are what the user wants, not how the program works.
    const SolverOptions defaults = solver;
    solver = ReferenceRecipe();
    solver.bits = defaults.bits;
    solver.group_size = defaults.group_size;
    solver.symmetric = defaults.symmetric;
  }
  if (given.recipe == "best") solver.sweeps = 2;
  const bool rounding = ParseMethod(given.method) == Method::kRoundToNearest;
  solver.scale_type = default_scale_type;
  if (given.bits) SetBits(Concat(*given.bits), solver);
  if (given.group_size) solver.group_size = *given.group_size;
  if (given.symmetric) solver.symmetric = *given.symmetric;
  if (given.order) solver.order = ParseOrder(*given.order);
  if (given.static_groups) solver.static_groups = true;
  if (given.group_grid) solver.group_grid = ParseGroupGrid(*given.group_grid);
  if (rounding) solver.symmetric_grid = SymmetricGrid::kPlain;  // the baseline as everybody knows it
  if (rounding || solver.ternary) {
    // What needs H, or a range to choose.
    solver.clip = Clip::kNone;
    solver.refits = 0;
  }
  if (given.clip) solver.clip = ParseClip(*given.clip);
  if (given.symmetric_grid) solver.symmetric_grid = ParseSymmetricGrid(*given.symmetric_grid);
  if (given.refits) solver.refits = *given.refits;
  if (given.sweeps) solver.sweeps = *given.sweeps;
  if (given.damping) solver.damping = *given.damping;
  if (given.block_size) solver.block_size = *given.block_size;
  if (given.scale_type) solver.scale_type = ParseScaleType(*given.scale_type);
  Validate(solver);
  if (rounding && solver.clip == Clip::kHessian)
    throw UsageError("--clip hessian: --method rtn has no calibration; use none or mse");
  return solver;
}

}  // namespace gptq
