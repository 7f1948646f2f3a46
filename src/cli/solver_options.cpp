#include "cli/solver_options.h"

namespace gptq {

void AddSolverOptions(CLI::App* command, QualityOptions* given) {
  command
      ->add_option("--recipe", given->recipe,
                   "default; reference (works as the published program); best (slower: --sweeps 2)")
      ->check(CLI::IsMember({"default", "reference", "best"}));
  command->add_option("--method", given->method, "gptq or rtn (round to nearest)")
      ->check(CLI::IsMember({"gptq", "rtn"}));
  command->add_option("--bits", given->bits, "2..8 (default 4); 1.58 = ternary, where the format allows it");
  command->add_option("--group-size", given->group_size,
                      "Columns that share a scale; -1 = the whole row (default 128)");
  CLI::Option* symmetric = command->add_flag_callback(
      "--symmetric", [given] { given->symmetric = true; }, "Zero in the middle of the grid (default)");
  command
      ->add_flag_callback(
          "--asymmetric", [given] { given->symmetric = false; }, "A zero of its own for each group")
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

}  // namespace gptq
