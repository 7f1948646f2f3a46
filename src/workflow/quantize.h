// The main job: a model in, a smaller one out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "compute/backend.h"
#include "quant/gptq_format.h"
#include "quant/options.h"
#include "workflow/calibration.h"
#include "workflow/model_files.h"

namespace gptq {

// How much a calibration token counts in H.
enum class TokenWeighting {
  kNone,
  kAttention,  // by the attention it receives (RSQ, arXiv 2503.01820)
};

struct QuantizeOptions {
  std::filesystem::path model, architecture, output;
  bool overwrite = false;
  Method method = Method::kGptq;
  SolverOptions solver;
  GptqVersion version = GptqVersion::kV1;
  CalibrationOptions calibration;
  TokenWeighting token_weighting = TokenWeighting::kNone;
  double asymmetric_calibration = 0;  // alpha of quant/target_shift.h
  std::vector<std::pair<std::string, int>>
      bits_for;                   // regular expression on linear names -> bits; the last match wins
  std::vector<std::string> skip;  // regular expressions on linear names
  // Sees each linear as it is stored.
  std::function<void(const std::string& name, const PackedWeight& weight)> observe;
};

struct LayerReport {
  std::string name;
  int64_t rows = 0, columns = 0;
  int bits = 0;
  int64_t group_size = 0;
  // Of GPTQ only: see `loss` and `relative_error` in quant/measure.h.
  std::optional<double> loss, relative_error, damping;
  double seconds = 0;
};

struct QuantizeReport {
  std::filesystem::path output;
  double bits_per_weight =
      0;  // codes, scales, zeros and, where it says something, the group index of quantized linears
  int64_t calibration_samples = 0, calibration_tokens = 0, sink_sequences = 0;
  std::vector<LayerReport> layers;
  std::map<std::string, double> stage_seconds;  // forward, hessian, solve, write, ...
  double forward_flops = 0,
         hessian_flops = 0;  // multiplications and additions of linears and attention; of H
};

// Throws Error (bad input, nothing written) or UsageError (impossible options).
QuantizeReport Quantize(const QuantizeOptions& options, Backend& backend, Progress& progress);

Json ToJson(const QuantizeReport& report);

}  // namespace gptq
