// A model, calibration tokens and a plan: all that quantize knows before it computes anything.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "model/decoder.h"
#include "quant/quantization_config.h"
#include "workflow/activation_store.h"
#include "workflow/calibration.h"
#include "workflow/model_files.h"
#include "workflow/quantize.h"
#include "workflow/quantize_plan.h"
#include "workflow/stage_statistics.h"

namespace gptq {

constexpr int64_t kCheckTokens = 128;  // of the self-check at the end

struct QuantizeJob {
  QuantizeOptions options;
  std::unique_ptr<ModelFiles> model;
  std::unique_ptr<Decoder> decoder;
  CalibrationSet samples;  // without calibration: a few tokens for the check of what is written
  std::map<std::string, LinearChoice> choices;  // of --target-bits
  QuantizePlan plan;
  std::vector<std::filesystem::path> side_files;  // copied as they are
  uint64_t contents = 0;                          // hash of the model's tensors
  // What other programs will say of the output, one sentence each: filled by ConfigOf.
  std::vector<std::string> refusals;

  bool calibrated() const { return options.method == Method::kGptq; }
  bool shifted() const {
    return calibrated() && (options.asymmetric_calibration != 0 || options.residual_correction != 0);
  }
  // Of the linears that are planned.
  std::vector<StatisticsUnit> Units(const Stage& stage) const;
  int64_t layers() const { return model->spec().layers; }
  // The batches of all samples, then of the sinks; of a model that runs its blocks several times the same
  // once more for each loop.
  ActivationShape activations() const;
};

// Opens and checks everything but the contents of the model's tensors. `choices`: of --target-bits, where an
// earlier run has made them; they take long.
QuantizeJob PrepareJob(const QuantizeOptions& options, std::map<std::string, LinearChoice> choices,
                       Backend& backend, Progress& progress);

// Of a job whose linears are all alike: throws UsageError where --target-bits could not be kept to.
void CheckTargetBits(const QuantizeJob& job, double target_bits);

// What the output's config says of its weights. Warns of what readers of folders refuse.
QuantizationConfig ConfigOf(QuantizeJob& job, Progress& progress);

}  // namespace gptq
