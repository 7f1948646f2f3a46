#include "workflow/benchmark.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "compute/peak.h"
#include "workflow/model_files.h"

namespace gptq {
namespace {

struct BenchmarkCommandOptions {
  std::string model, architecture, shape;
  RandomWeights weights;
  SpeedOptions speed;
  int activation_bits = 16;
};

Json PeakJson(const Backend& backend, const MachinePeak& peak) {
  return {{"backend", backend.Describe()},
          {"read_bandwidth_bytes_per_second", peak.read_bandwidth_bytes_per_second},
          {"fma_flops_per_second", peak.fma_flops_per_second},
          {"gemm_flops_per_second", peak.gemm_flops_per_second}};
}

std::string PeakText(const Backend& backend, const MachinePeak& peak) {
  return Format(
      "%s\nread bandwidth     %8.1f GB/s\nfused multiply-add %8.1f GFLOP/s\nmatrix product     %8.1f "
      "GFLOP/s\n",
      backend.Describe().c_str(), peak.read_bandwidth_bytes_per_second * 1e-9,
      peak.fma_flops_per_second * 1e-9, peak.gemm_flops_per_second * 1e-9);
}

void RunPeak(CommandContext& context) {
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const MachinePeak peak = MeasurePeak(backend->pool());
  context.SetResult(PeakJson(*backend, peak), PeakText(*backend, peak));
}

Json SpeedJson(const Backend& backend, int threads, const Speed& speed) {
  Json json = PeakJson(backend, speed.peak);
  json["threads"] = threads;
  json["prefill_tokens_per_second"] = speed.prefill_tokens_per_second;
  json["prefill_share_of_float_products"] = speed.prefill_share_of_float_products;
  json["decode_tokens_per_second"] = speed.decode_tokens_per_second;
  json["bytes_per_token"] = speed.bytes_per_token;
  json["kv_cache_bytes_per_token"] = speed.kv_cache_bytes_per_token;
  json["decode_share_of_read_bandwidth"] = speed.decode_share_of_read_bandwidth;
  json["fastest_token_seconds"] = speed.fastest_token_seconds;
  json["fastest_token_share"] = speed.fastest_token_share;
  return json;
}

std::string SpeedText(const Backend& backend, const BenchmarkCommandOptions& options, const Speed& speed) {
  const auto prefill = static_cast<long long>(options.speed.prefill_tokens);
  const auto decode = static_cast<long long>(options.speed.decode_tokens);
  std::string text = PeakText(backend, speed.peak);
  text += Format("prefill %5lld tokens %8.1f tokens/s, %.2f times what float32 products reach\n", prefill,
                 speed.prefill_tokens_per_second, speed.prefill_share_of_float_products);
  text += Format(
      "decode  %5lld tokens %8.1f tokens/s, %.1f MB a token, %.0f %% of the read bandwidth around them\n",
      decode, speed.decode_tokens_per_second, speed.bytes_per_token * 1e-6,
      100 * speed.decode_share_of_read_bandwidth);
  if (options.speed.sequences > 1)
    text += Format("        of each of %lld sequences together\n",
                   static_cast<long long>(options.speed.sequences));
  return text + Format("        fastest token %8.2f ms, %.0f %% of the best read bandwidth\n",
                       1e3 * speed.fastest_token_seconds, 100 * speed.fastest_token_share);
}

// At one thread and at all; the result's own keys are those of all.
void RunSpeed(const BenchmarkCommandOptions& options, CommandContext& context) {
  const int all = context.threads > 0 ? context.threads : AvailableCores();
  const int64_t longest =
      std::max(options.speed.prefill_tokens, options.speed.context_tokens + options.speed.decode_tokens);
  std::unique_ptr<ModelFiles> model;
  Json config;
  if (options.shape.empty()) {
    model = ModelFiles::Open(options.model, options.architecture);
  } else {
    config = ShapeConfig(options.shape);
  }
  Json result, runs = Json::array();
  std::string text;
  for (int threads = 1; threads <= all; threads = threads == 1 && all > 1 ? all : all + 1) {
    const std::unique_ptr<Backend> backend = MakeCpuBackend(threads);
    const std::unique_ptr<Decoder> decoder =
        model ? model->LoadEngine(*backend, longest, options.activation_bits)
              : MakeRandomDecoder(config, options.shape, options.weights, *backend, longest);
    backend->SetActivationBits(options.activation_bits);
    const Speed speed = MeasureSpeed(*decoder, options.speed, [&] { context.progress().Step(0); });
    result = SpeedJson(*backend, threads, speed);
    result["activation_bits"] = options.activation_bits;
    result["kv_bits"] = options.speed.kv_bits;
    result["batch"] = options.speed.sequences;
    runs.push_back(result);
    text += (text.empty() ? "" : "\n") + SpeedText(*backend, options, speed);
  }
  result["runs"] = runs;
  context.SetResult(result, text);
}

}  // namespace

void AddBenchmarkCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<BenchmarkCommandOptions>();
  CLI::App* command =
      app.add_subcommand("benchmark", "Measure this machine, and how fast a model runs on it");
  CLI::Option* model = command->add_option("MODEL", options->model, "Model folder or .gguf file");
  command
      ->add_option("--shape", options->shape,
                   "Random weights of this shape: llama-1b, llama-7b, smollm2-135m, or a config.json")
      ->excludes(model);
  command->add_option("--bits", options->weights.bits, "Of the random weights")
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  command->add_option("--group-size", options->weights.group_size, "-1 = whole rows")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--head-bits", options->weights.head_bits, "Of the random head: 16, or 2 to 8")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 7, 8, 16}))
      ->capture_default_str();
  command->add_option("--prefill-tokens", options->speed.prefill_tokens, "Read at once")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--decode-tokens", options->speed.decode_tokens, "Written one by one")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--context-tokens", options->speed.context_tokens, "Seen before the first is written")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  command
      ->add_option("--batch", options->speed.sequences, "Sequences written together, a token of each in turn")
      ->check(CLI::Range(int64_t{1}, int64_t{64}))
      ->capture_default_str();
  AddActivationBitsOption(command, options->activation_bits);
  AddKvBitsOption(command, options->speed.kv_bits);
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] {
    if (options->model.empty() && options->shape.empty()) return RunPeak(context);
    RunSpeed(*options, context);
  });
}

}  // namespace gptq
