// What quantizing a model did and how good it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace gptq {

struct LayerReport {
  std::string name;
  int64_t rows = 0, columns = 0;
  int bits = 0;
  int64_t group_size = 0;
  std::string type;  // in a GGUF file: "Q4_K"; else empty
  // Of GPTQ only: see `loss` and `relative_error` in quant/measure.h.
  std::optional<double> loss, relative_error, damping;
  double seconds = 0;
  // Of GPTQ only: calibration tokens that the linear saw, and CountInputs of workflow/stage_statistics.h.
  std::optional<int64_t> tokens, dead_inputs, outlier_inputs;
  // Of an expert that saw too few: "damping" (more of it), "rtn" (rounded to nearest); else empty.
  std::string fallback;
};

// What is done block after block, by this run and those that it goes on from.
struct WorkReport {
  std::vector<LayerReport> layers;
  std::map<std::string, double> stage_seconds;  // forward, hessian, solve, write, ...
  std::map<std::string, int64_t> stage_memory;  // the largest resident set at the ends of its steps
  double forward_flops = 0,
         hessian_flops = 0;  // multiplications and additions of linears and attention; of H

  std::optional<double> MeanRelativeError() const;  // of the layers that have one
};

// The written model against the one in memory: workflow/self_check.h.
struct SelfCheckReport {
  double relative_error = 0;
  int64_t tokens = 0;
};

struct QuantizeReport : WorkReport {
  std::filesystem::path source, output;
  Json settings;  // of workflow/quantize_settings.h
  double bits_per_weight =
      0;  // codes, scales, zeros and, where it says something, the group index of quantized linears
  std::filesystem::path calibration_file;  // empty: the built-in set
  int64_t calibration_samples = 0, calibration_tokens = 0, sink_sequences = 0;
  int64_t planned_bytes = 0;   // of memory at most
  int64_t spilled_bytes = 0;   // of activations on the disk instead of in memory
  int64_t resumed_blocks = 0;  // done by earlier runs
  std::optional<SelfCheckReport> self_check;
};

Json ToJson(const QuantizeReport& report);

// For the journal. The second throws Json::exception for anything else.
Json ToJson(const WorkReport& work);
WorkReport WorkReportFrom(const Json& json);

// Adds the time from its making to its end to a sum.
class Timer {
 public:
  explicit Timer(double* seconds) : seconds_(seconds), start_(Clock::now()) {}
  ~Timer() { *seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double* seconds_;
  Clock::time_point start_;
};

// The same for a stage's time, and its memory.
class StageTimer {
 public:
  StageTimer(WorkReport& report, const std::string& stage)
      : memory_(&report.stage_memory[stage]), timer_(&report.stage_seconds[stage]) {}
  ~StageTimer();
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  int64_t* memory_;
  Timer timer_;
};

}  // namespace gptq
