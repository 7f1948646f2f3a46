#include "workflow/resolve_options.h"

#include "base/gguf_block.h"
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
  if (given.sequence_length)
    CheckRange("--sequence-length", static_cast<double>(*given.sequence_length), 1, int64_t{1} << 30);
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
  if (given.quality.bits || given.quality.group_size) {
    throw UsageError(
        "--target-bits chooses bits and group sizes: leave out --bits and --group-size (--group-sizes says "
        "which to choose from)");
  }
  if (options.method != Method::kGptq) throw UsageError("--target-bits needs --method gptq: it is measured");
  for (const int64_t size : given.group_sizes)
    CheckRange("--group-sizes", static_cast<double>(size), 1, int64_t{1} << 20);
  if (options.format == WeightFormat::kGguf && (!given.group_sizes.empty() || !given.bits_for.empty()))
    throw UsageError(
        "--target-bits with --format gguf chooses among GGUF's types: leave out --group-sizes and "
        "--bits-for");
  options.target_bits = *given.target_bits;
  if (!given.group_sizes.empty()) options.group_sizes = given.group_sizes;
}

void SetFormat(const std::string& format, QuantizeOptions& options) {
  SolverOptions& solver = options.solver;
  // v1 cannot say a zero of 0.
  options.format = !format.empty()    ? ParseWeightFormat(format)
                   : solver.symmetric ? WeightFormat::kGptq
                                      : WeightFormat::kGptqV2;
  if (solver.ternary)
    throw UsageError(Concat("--bits 1.58: --format ", Name(options.format), " cannot hold ternary weights"));
  if (!HoldsBits(options.format, solver.bits)) {
    throw UsageError(Concat("--bits ", solver.bits, ": --format ", Name(options.format), " holds ",
                            BitsOf(options.format)));
  }
  if (options.format == WeightFormat::kGptq && !solver.symmetric) solver.minimum_zero = 1;
}

// The type of a matrix at the end of the model; rows that do not fill its blocks take another one.
std::optional<DType> EndType(const char* option, std::optional<int> bits) {
  if (!bits) return std::nullopt;
  switch (*bits) {
    case 16:
      return DType::kF16;
    case 8:
      return DType::kQ8_0;
    case 6:
      return DType::kQ6_K;
    case 4:
      return DType::kQ4_0;
    default:
      throw UsageError(Concat(option, " ", *bits, ": must be 16, 8, 6 or 4"));
  }
}

// --type in the place of bits and groups.
void SetType(const ModelOptions& given, QuantizeOptions& options) {
  if (given.type.empty()) return;
  const auto refuse = [&](bool wrong, const char* why) {
    if (wrong) throw UsageError(Concat("--type ", given.type, ": ", why));
  };
  refuse(options.format != WeightFormat::kGguf, "only --format gguf has it");
  options.type = ParseStoredType(given.type);
  refuse(!IsBlockType(*options.type), "a type of blocks is needed, such as q4_0 or q4_k");
  const QualityOptions& quality = given.quality;
  refuse(
      quality.bits || quality.group_size || quality.symmetric || quality.scale_type,
      "it says bits, groups, symmetry and scales; leave out --bits, --group-size, --symmetric, --asymmetric "
      "and --scale-type");
  refuse(given.target_bits || !given.bits_for.empty(), "leave out --target-bits and --bits-for");
  refuse(options.solver.order == Order::kActivation && !options.solver.static_groups,
         "a block's columns are neighbours; use --order group, or --static-groups");
}

void SetGguf(const ModelOptions& given, QuantizeOptions& options) {
  options.head_bits = given.head_bits.value_or(16);
  if (options.format != WeightFormat::kGguf) {
    if (given.embedding_bits.value_or(16) != 16)
      throw UsageError("--embedding-bits under 16 needs --format gguf");
    if (options.head_bits != 16 && !HoldsBits(options.format, options.head_bits)) {
      throw UsageError(Concat("--head-bits ", options.head_bits, ": --format ", Name(options.format),
                              " holds ", BitsOf(options.format), ", or 16 for the head as it is"));
    }
    return;
  }
  options.ends = ParseEndTypes(given.embedding_bits, given.head_bits);
  // Its blocks have scales of their own every 32 weights in any case.
  if (!given.quality.group_size) options.solver.group_size = 32;
}

}  // namespace

EndTypes ParseEndTypes(std::optional<int> embedding_bits, std::optional<int> head_bits) {
  return {EndType("--embedding-bits", embedding_bits), EndType("--head-bits", head_bits)};
}

DType ParseStoredType(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  if (const std::optional<DType> type = GgufTypeFromName(name)) return *type;
  throw UsageError(Concat("--type ", name,
                          " is not known; known are f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, "
                          "q8_0, q2_k, q3_k, q4_k, q5_k, q6_k"));
}

QuantizeOptions ResolveQuantizeOptions(const ModelOptions& given) {
  QuantizeOptions options;
  options.architecture = given.architecture;
  options.overwrite = given.overwrite;
  options.method = ParseMethod(given.quality.method);
  options.solver = ResolveSolverOptions(given.quality, DType::kF16);
  SetFormat(given.format, options);
  SetGguf(given, options);
  SetType(given, options);
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
    if (!HoldsBits(options.format, bits)) {
      throw UsageError(
          Concat("--bits-for '", pattern, "=", bits, "': the format holds ", BitsOf(options.format)));
    }
  }
  options.bits_for = given.bits_for;
  for (const std::string& pattern : given.skip) CheckPattern("--skip", pattern);
  options.skip = given.skip;
  return options;
}

}  // namespace gptq
