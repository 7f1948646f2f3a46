#include "workflow/resolve_options.h"

#include "quant/recipe.h"

namespace gptq {
namespace {

constexpr int64_t kMostSequences = int64_t{1} << 20;

// Longer ones exhaust the stack of the regular expression compiler.
void CheckPattern(const char* option, const std::string& text) {
  constexpr size_t kLongest = 1000;
  if (text.size() > kLongest)
    throw UsageError(Concat(option, ": a regular expression of more than ", kLongest, " characters"));
}

void CheckRange(const char* option, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw UsageError(Concat(option, " ", value, ": must be ", low, " to ", high));
}

void SetCalibration(const ModelOptions& given, CalibrationOptions& calibration) {
  CheckRange("--samples", static_cast<double>(given.samples), 1, kMostSequences);
  CheckRange("--sequence-length", static_cast<double>(given.sequence_length), 1, int64_t{1} << 30);
  calibration.file = given.calibration;
  calibration.samples = given.samples;
  calibration.sequence_length = given.sequence_length;
  calibration.seed = given.seed;
  if (given.quality.recipe == "reference") calibration.sink_sequences = 0;
  if (given.sink_sequences) calibration.sink_sequences = *given.sink_sequences;
  CheckRange("--sink-sequences", static_cast<double>(calibration.sink_sequences), 0, kMostSequences);
}

TokenWeighting ParseTokenWeighting(const std::string& name) {
  if (name == "none") return TokenWeighting::kNone;
  if (name == "attention") return TokenWeighting::kAttention;
  throw UsageError(Concat("--token-weighting ", name, " is not known; known are none, attention"));
}

void SetAllocation(const ModelOptions& given, QuantizeOptions& options) {
  if (!given.target_bits) {
    if (!given.group_sizes.empty()) throw UsageError("--group-sizes goes with --target-bits");
    return;
  }
  CheckRange("--target-bits", *given.target_bits, 2, 16);
  if (options.method != Method::kGptq) throw UsageError("--target-bits needs --method gptq: it is measured");
  for (const int64_t size : given.group_sizes)
    CheckRange("--group-sizes", static_cast<double>(size), 1, int64_t{1} << 20);
  options.target_bits = *given.target_bits;
  if (!given.group_sizes.empty()) options.group_sizes = given.group_sizes;
}

void SetFormat(const std::string& format, QuantizeOptions& options) {
  if (!format.empty() && format != "gptq" && format != "gptq_v2")
    throw UsageError(Concat("--format ", format, " is not known; known are gptq, gptq_v2"));
  if (options.solver.ternary)
    throw UsageError("--bits 1.58: --format gptq and gptq_v2 cannot hold ternary weights");
  if (!GptqBits(options.solver.bits)) {
    throw UsageError(
        Concat("--bits ", options.solver.bits, ": --format gptq and gptq_v2 hold 2, 3, 4 or 8 bits"));
  }
  const bool v1 = format.empty() ? options.solver.symmetric : format == "gptq";
  options.version = v1 ? GptqVersion::kV1 : GptqVersion::kV2;
  if (v1 && !options.solver.symmetric) options.solver.minimum_zero = 1;
}

}  // namespace

QuantizeOptions ResolveQuantizeOptions(const ModelOptions& given) {
  QuantizeOptions options;
  options.architecture = given.architecture;
  options.overwrite = given.overwrite;
  options.method = ParseMethod(given.quality.method);
  options.solver = ResolveSolverOptions(given.quality, DType::kF16);
  SetFormat(given.format, options);
  SetCalibration(given, options.calibration);
  options.token_weighting = ParseTokenWeighting(given.token_weighting);
  if (given.calibrate_experts != "routed" && given.calibrate_experts != "all") {
    throw UsageError(
        Concat("--calibrate-experts ", given.calibrate_experts, " is not known; known are routed, all"));
  }
  options.calibrate_all_experts = given.calibrate_experts == "all";
  const double share = given.quality.recipe == "best" ? 0.5 : 0;
  options.asymmetric_calibration = given.asymmetric_calibration.value_or(share);
  CheckRange("--asymmetric-calibration", options.asymmetric_calibration, 0, 1);
  options.residual_correction = given.residual_correction.value_or(share);
  CheckRange("--residual-correction", options.residual_correction, 0, 1);
  SetAllocation(given, options);
  for (const auto& [pattern, bits] : given.bits_for) {
    CheckPattern("--bits-for", pattern);
    if (!GptqBits(bits))
      throw UsageError(Concat("--bits-for '", pattern, "=", bits, "': the format holds 2, 3, 4 or 8 bits"));
  }
  options.bits_for = given.bits_for;
  for (const std::string& pattern : given.skip) CheckPattern("--skip", pattern);
  options.skip = given.skip;
  return options;
}

}  // namespace gptq
