// What will be done to each linear, known before anything is computed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "model/decoder.h"
#include "workflow/bit_allocation.h"
#include "workflow/quantize.h"
#include "workflow/quantize_report.h"

namespace gptq {

struct PlannedLinear {
  std::string name;
  int64_t rows = 0, columns = 0;
  SolverOptions solver;  // of this linear
  LinearSettings settings;
  DType type = DType::kF16;  // in a GGUF file
};

// What is known of it before it is solved.
LayerReport DescribeLayer(const PlannedLinear& planned);

// By name; linears that are left as they are have no entry.
using QuantizePlan = std::map<std::string, PlannedLinear>;

// Throws UsageError for expressions that are wrong or match nothing, Error where nothing is left to quantize;
// warns of shapes that readers of the format refuse.
// `choices`: bits and group sizes of linears that differ from options.solver; --bits-for wins over them.
QuantizePlan MakePlan(const QuantizeOptions& options, const std::map<std::string, LinearChoice>& choices,
                      Decoder& decoder, Progress& progress);

// Bits of all that is stored for the planned linears, per weight.
double BitsPerWeight(const QuantizePlan& plan);

}  // namespace gptq
