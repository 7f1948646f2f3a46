// Where a run of quantize leaves its output, and in which form.
#pragma once

#include <filesystem>
#include <memory>

#include "workflow/output_form.h"
#include "workflow/quantize_job.h"

namespace gptq {

// Where in PATH.partial the checkpoint lies, a folder or a file; beside it, what is needed to go on after an
// interruption.
inline constexpr const char* kCheckpoint = "checkpoint";

// What can be known of an output path before any work: Error where something stands there that must not be
// replaced (anything without `overwrite`; with it the model itself, or a folder that holds no model), or
// where the unfinished output PATH.partial would delete what this program has not written.
void CheckOutputPath(const std::filesystem::path& output, bool overwrite, const std::filesystem::path& model);

// The form of the quantized model.
std::unique_ptr<OutputForm> FormOf(const QuantizeJob& job, const QuantizationConfig& config);

}  // namespace gptq
