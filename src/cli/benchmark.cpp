#include "cli/command.h"
#include "compute/peak.h"

namespace gptq {
namespace {

void RunBenchmark(CommandContext& context) {
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const MachinePeak peak = MeasurePeak(backend->pool());
  context.SetResult({{"backend", backend->Describe()},
                     {"read_bandwidth_bytes_per_second", peak.read_bandwidth_bytes_per_second},
                     {"fma_flops_per_second", peak.fma_flops_per_second},
                     {"gemm_flops_per_second", peak.gemm_flops_per_second}},
                    Format("%s\nread bandwidth     %8.1f GB/s\nfused multiply-add %8.1f GFLOP/s\nmatrix "
                           "product     %8.1f GFLOP/s\n",
                           backend->Describe().c_str(), peak.read_bandwidth_bytes_per_second * 1e-9,
                           peak.fma_flops_per_second * 1e-9, peak.gemm_flops_per_second * 1e-9));
}

}  // namespace

void AddBenchmarkCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = app.add_subcommand("benchmark", "Measure what this machine can do");
  command->callback([&context] { RunBenchmark(context); });
}

}  // namespace gptq
