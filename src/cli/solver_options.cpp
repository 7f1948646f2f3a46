#include "cli/solver_options.h"

#include "base/error.h"

namespace gptq {

void AddSolverOptions(CLI::App* command, GivenSolverOptions* given) {
  command
      ->add_option("--recipe", given->recipe,
                   "default; reference (works as the published program); best (slower: --sweeps 2)")
      ->check(CLI::IsMember({"default", "reference", "best"}));
  command->add_option("--method", given->method, "gptq or rtn (round to nearest)")
      ->check(CLI::IsMember({"gptq", "rtn"}));
  command->add_option("--bits", given->bits, "2..8 (default 4); 1.58 = ternary, where the format allows it");
  command->add_option("--group-size", given->group_size,
                      "Columns that share a scale; -1 = the whole row (default 128)");
  CLI::Option* symmetric =
      command->add_flag("--symmetric", given->symmetric, "Zero in the middle of the grid (default)");
  command->add_flag("--asymmetric", given->asymmetric, "A zero of its own for each group")
      ->excludes(symmetric);
  command->add_option("--order", given->order, "natural, activation, pivot or group (default)");
  command->add_flag("--static-groups", given->static_groups, "All grids from the original weights");
  command->add_option("--group-grid", given->group_grid, "up-to-date (default) or reference");
  command->add_option("--clip", given->clip, "none, mse or hessian (default)");
  command->add_option("--symmetric-grid", given->symmetric_grid,
                      "plain or full-range (default: scales of either sign, every code used)");
  command->add_option("--refits", given->refits, "Rounds of fitting scales and zeros to the codes");
  command->add_option("--sweeps", given->sweeps, "Rounds of coordinate descent over the finished codes");
  command->add_option("--damping", given->damping, "Share of the mean diagonal added to H (default 0.01)");
  command->add_option("--block-size", given->block_size,
                      "Columns whose updates are applied lazily (default 128)");
  command->add_option("--scale-type", given->scale_type, "float16, bfloat16 or float32");
}

SolverOptions ResolveSolverOptions(const GivenSolverOptions& given, DType default_scale_type) {
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
  solver.scale_type = default_scale_type;
  if (given.bits) SetBits(*given.bits, solver);
  if (given.group_size) solver.group_size = *given.group_size;
  if (given.symmetric) solver.symmetric = true;
  if (given.asymmetric) solver.symmetric = false;
  if (given.order) solver.order = ParseOrder(*given.order);
  if (given.static_groups) solver.static_groups = true;
  if (given.group_grid) solver.group_grid = ParseGroupGrid(*given.group_grid);
  // Without H, and for ternary grids, the default is the plain range.
  if (solver.ternary || ParseMethod(given.method) == Method::kRoundToNearest) solver.clip = Clip::kNone;
  if (given.clip) solver.clip = ParseClip(*given.clip);
  if (given.symmetric_grid) solver.symmetric_grid = ParseSymmetricGrid(*given.symmetric_grid);
  if (given.refits) solver.refits = *given.refits;
  if (given.sweeps) solver.sweeps = *given.sweeps;
  if (given.damping) solver.damping = *given.damping;
  if (given.block_size) solver.block_size = *given.block_size;
  if (given.scale_type) solver.scale_type = ParseScaleType(*given.scale_type);
  Validate(solver);
  if (ParseMethod(given.method) == Method::kRoundToNearest && solver.clip == Clip::kHessian)
    throw UsageError("--clip hessian: --method rtn has no calibration; use none or mse");
  return solver;
}

}  // namespace gptq
