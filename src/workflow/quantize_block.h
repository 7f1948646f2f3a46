// One block of the model: calibration sequences run through it stage by stage, its linears are solved and
// written.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "quant/factor.h"
#include "quant/hessian.h"
#include "quant/target_shift.h"
#include "workflow/activation_store.h"
#include "workflow/quantize_job.h"
#include "workflow/quantize_output.h"
#include "workflow/quantize_report.h"

namespace gptq {

// What a stage's linears are solved with.
struct StageStatistics {
  Hessian hessian;
  std::optional<InputShift> shift;  // with asymmetric calibration
};

// Each linear multiplies each token once, with the quantized weights of everything before it.
class BlockQuantizer {
 public:
  BlockQuantizer(QuantizeJob& job, ActivationStore& store, QuantizeOutput& output, WorkReport& report,
                 Backend& backend, Progress& progress)
      : job_(job), store_(store), output_(output), report_(report), backend_(backend), progress_(progress) {}

  // From the boundary before block `index` to the one after it, which is saved but not finished; after the
  // last block only that of the first batch.
  void Run(int64_t index);

 private:
  const SolverOptions& SolverOf(const Stage& stage) const;
  void QuantizeStage(Stage& stage, size_t number);
  std::optional<StageStatistics> RunStage(size_t number);
  void AddStatistics(size_t batch, std::span<BlockState> states, HessianAccumulator& accumulator,
                     InputShift* shift);
  void Advance(const Block& block, size_t number, BlockState& state);
  std::span<BlockState> AdvanceBatch(size_t batch, size_t number);
  void EndBlock();
  void QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan, const StageStatistics* statistics,
                      const std::optional<InverseFactor>& factor);
  PackedWeight Solve(const LinearLayer& linear, const PlannedLinear& plan, const StageStatistics* statistics,
                     const std::optional<InverseFactor>& factor, LayerReport& layer);
  double ForwardFlops(size_t number) const;
  bool wanted(const Stage& stage) const;

  QuantizeJob& job_;
  ActivationStore& store_;
  QuantizeOutput& output_;
  WorkReport& report_;
  Backend& backend_;
  Progress& progress_;
  int64_t index_ = 0;
  Block* block_ = nullptr;
  std::unique_ptr<Block> original_;                // the block in the unquantized model
  std::vector<std::vector<float>> token_weights_;  // of each batch's rows; only where tokens are weighted
};

}  // namespace gptq
