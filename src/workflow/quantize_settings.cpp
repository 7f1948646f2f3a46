#include "workflow/quantize_settings.h"

#include <algorithm>

#include "base/hash.h"
#include "io/mapped_file.h"
#include "workflow/model_card.h"

namespace gptq {
namespace {

// Whoever adds a member to the options is stopped here by the compiler: it goes into the settings too.
Json SolverSettings(const SolverOptions& options) {
  const auto& [bits, ternary, group_size, symmetric, symmetric_grid, order, static_groups, group_grid, clip,
               refits, sweeps, damping, block_size, scale_type, gguf_type, minimum_zero] = options;
  return {{"--bits", ternary ? Json("1.58") : Json(bits)},
          {"--group-size", group_size},
          {"--symmetric", symmetric},
          {"--symmetric-grid", Name(symmetric_grid)},
          {"--order", Name(order)},
          {"--static-groups", static_groups},
          {"--group-grid", Name(group_grid)},
          {"--clip", Name(clip)},
          {"--refits", refits},
          {"--sweeps", sweeps},
          {"--damping", damping},
          {"--block-size", block_size},
          {"--scale-type", Name(scale_type)},
          {"the type of its own grids", gguf_type ? Json(Name(*gguf_type)) : Json()},
          {"the least zero", minimum_zero}};
}

uint64_t HashOfTokens(const CalibrationSet& samples) {
  const uint64_t ids =
      HashBytes(std::as_bytes(std::span(samples.ids)), static_cast<uint64_t>(samples.tokens_per_sample));
  return HashBytes(std::as_bytes(std::span(samples.sinks)), ids);
}

uint64_t HashOfSideFiles(const QuantizeJob& job) {
  constexpr int64_t kPiece = int64_t{1} << 24;
  uint64_t hash = 0;
  for (const std::filesystem::path& path : job.side_files) {
    const auto file = MappedFile::Open(path);
    hash = HashText(path.filename().string(), hash);
    for (int64_t at = 0; at < file->size(); at += kPiece) {
      const int64_t count = std::min(kPiece, file->size() - at);
      hash = HashBytes({file->data() + at, static_cast<size_t>(count)}, hash);
      file->Release(file->data() + at, count);
    }
  }
  return hash;
}

}  // namespace

Json DecidingSettings(const QuantizeJob& job) {
  const QuantizeOptions& options = job.options;
  Json settings = SolverSettings(options.solver);
  if (options.type || options.target_bits > 0) settings["--bits"] = settings["--group-size"] = Json();
  settings["the program's version"] = GPTQ_VERSION;
  settings["--method"] = Name(options.method);
  settings["--format"] = Name(options.format);
  const auto type = [](std::optional<DType> dtype) { return dtype ? Json(Name(*dtype)) : Json(); };
  settings["--type"] = type(options.type);
  settings["--embedding-bits"] = type(options.ends.embedding);
  settings["--head-bits"] = options.head_bits;
  settings["--token-weighting"] =
      options.token_weighting == TokenWeighting::kAttention ? "attention" : "none";
  settings["--calibrate-experts"] = options.calibrate_all_experts ? "all" : "routed";
  settings["--asymmetric-calibration"] = options.asymmetric_calibration;
  settings["--residual-correction"] = options.residual_correction;
  settings["--target-bits"] = options.target_bits;
  if (options.target_bits > 0) settings["--group-sizes"] = options.group_sizes;
  settings["--bits-for"] = options.bits_for;
  settings["--skip"] = options.skip;
  settings["the calibration"] = HashOfTokens(job.samples);
  settings["the model's tensors"] = job.contents;
  settings["the model's config.json"] = HashText(Dump(job.model->config()));
  settings["the architecture file"] = HashText(Dump(job.model->architecture().json));
  settings["the model's tokenizer files"] = HashOfSideFiles(job);
  settings["the model's name and licence"] = HashText(CardSource(*job.model));
  return settings;
}

}  // namespace gptq
