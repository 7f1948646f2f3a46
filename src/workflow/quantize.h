// The main job: a model in, a smaller one out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "compute/backend.h"
#include "quant/options.h"
#include "quant/weight_format.h"
#include "workflow/calibration.h"
#include "workflow/output_form.h"
#include "workflow/quantize_report.h"

namespace gptq {

// How much a calibration token counts in H.
enum class TokenWeighting {
  kNone,
  kAttention,  // by the attention it receives (RSQ, arXiv 2503.01820)
};

// What to do with unfinished work of an earlier run in PATH.partial.
enum class Unfinished {
  kGoOn,      // from it if there is any
  kMustGoOn,  // Error where there is none
  kRestart,   // throw it away
};

// What decides the result stands in DecidingSettings (workflow/quantize_settings.h), too.
struct QuantizeOptions {
  std::filesystem::path model, architecture, output;
  bool overwrite = false;
  Unfinished unfinished = Unfinished::kGoOn;
  int64_t memory_bytes = 0;  // the largest resident set; 0: 80 % of what the machine has available
  Method method = Method::kGptq;
  SolverOptions solver;
  WeightFormat format = WeightFormat::kGptq;
  std::optional<DType> type;  // of linears in GGUF, on its own grids; absent: what keeps solver's
  EndTypes ends;              // of GGUF; the head's is solved as the linears are
  int head_bits = 16;         // 16: the head stays as it is
  CalibrationOptions calibration;
  TokenWeighting token_weighting = TokenWeighting::kNone;
  bool calibrate_all_experts = false;  // each sees every token, not only those that go to it
  double target_bits = 0;  // if not 0, bits and group sizes are chosen under this budget: bit_allocation.h
  std::vector<int64_t> group_sizes = {32, 64, 128};  // to choose from
  double asymmetric_calibration = 0;                 // alpha of quant/target_shift.h
  double residual_correction = 0;                    // and its beta
  std::vector<std::pair<std::string, int>>
      bits_for;                   // regular expression on linear names -> bits; the last match wins
  std::vector<std::string> skip;  // regular expressions on linear names
  // Sees each linear as it is stored.
  std::function<void(const std::string& name, const StoredMatrix& weight)> observe;
};

// After every block, what is needed to go on from there is on the disk: the same call goes on from it. Throws
// Error (bad input: nothing is kept), UsageError (impossible options, a memory budget that is too small),
// WriteError and Interrupted (what can be gone on from is kept, and the message says so).
QuantizeReport Quantize(const QuantizeOptions& options, Backend& backend, Progress& progress);

// What Quantize would do, as JSON: linears with their settings, memory, disk and time. Nothing is written.
Json PlanQuantization(const QuantizeOptions& options, Backend& backend, Progress& progress);

}  // namespace gptq
