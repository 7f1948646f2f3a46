// A model from one format into another, its integer codes kept wherever the formats allow it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "compute/backend.h"
#include "quant/weight_format.h"
#include "workflow/output_form.h"

namespace gptq {

struct ConvertOptions {
  std::filesystem::path model, architecture, output;
  bool overwrite = false;
  bool dry_run = false;  // only says what would be done
  WeightFormat format = WeightFormat::kGguf;
  // Of the linears in GGUF, of all matrices of a GGUF source in a plain folder. Codes that another type would
  // keep are then rounded again. Absent: what loses least.
  std::optional<DType> type;
  EndTypes ends;  // of GGUF
};

// What happens to the values of a linear.
enum class Keeping {
  kCodes,    // codes and grids as they are
  kMinima,   // codes as they are, minima rounded to float16
  kFloats,   // no longer quantized, its values as 16 or 32 bits
  kRounded,  // rounded anew
};

struct ConvertedLinear {
  std::string name, from, to;  // "4 bits, groups of 128" -> "Q4_0"
  Keeping keeping = Keeping::kCodes;
  std::string reason;  // why the codes are not kept
  int64_t bytes_before = 0, bytes_after = 0;
  // sqrt(sum (after - before)² / sum before²) of the values; absent where they are kept
  std::optional<double> relative_error;
};

struct ConvertReport {
  std::filesystem::path output;
  WeightFormat format;
  int64_t bytes_before = 0, bytes_after = 0;  // of all tensors; after: 0 for a dry run
  std::vector<ConvertedLinear>
      linears;                       // those quantized before or after, and matrices at the ends that change
  int64_t quantized_linears = 0;     // before or after
  int64_t kept_linears = 0;          // of these, with all their codes
  std::optional<double> self_check;  // what config and tensors compute, tensors compared: self_check.h
};

// Says by `progress` what is lost before anything is written. Throws Error where the target cannot hold the
// model, UsageError for options that contradict each other.
ConvertReport Convert(const ConvertOptions& options, Backend& backend, Progress& progress);

Json ToJson(const ConvertReport& report);
std::string_view Name(Keeping keeping);

}  // namespace gptq
