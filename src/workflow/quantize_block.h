// One block of the model: calibration sequences run through it stage by stage, its linears are solved and
// written.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "quant/device_metric.h"
#include "quant/factor.h"
#include "workflow/activation_store.h"
#include "workflow/model_output.h"
#include "workflow/quantize_job.h"
#include "workflow/quantize_report.h"
#include "workflow/stage_statistics.h"

namespace gptq {

// Each linear multiplies each token once, with the quantized weights of everything before it.
class BlockQuantizer {
 public:
  // `statistics_bytes`: what the statistics of a stage may take; where they take more, its inputs are gone
  // through again for each part of them.
  BlockQuantizer(QuantizeJob& job, int64_t statistics_bytes, ActivationStore& store, ModelOutput& output,
                 WorkReport& report, Backend& backend, Progress& progress)
      : job_(job),
        statistics_bytes_(statistics_bytes),
        store_(store),
        output_(output),
        report_(report),
        backend_(backend),
        progress_(progress) {}

  // From the boundary before block `index` to the one after it, which is saved but not finished; after the
  // last block only that of the first batch, unless the head is to be quantized.
  void Run(int64_t index);

 private:
  // Sums on their way to a unit's statistics.
  struct Sums {
    HessianAccumulator hessian;
    std::optional<TargetShift> shift;
  };
  // What a group's linears are solved with; nothing: they are rounded to nearest.
  struct Metric {
    const StageStatistics* statistics = nullptr;
    InputCounts inputs;
    std::optional<InverseFactor> factor;
    std::unique_ptr<DeviceMetric> device;  // solves instead of the factor
    std::optional<double> damping;         // in the place of the options'
    std::string fallback;                  // LayerReport's
  };

  const SolverOptions& SolverOf(std::span<const LinearLayer> linears) const;
  std::span<LinearLayer> LinearsOf(Stage& stage, size_t group) const;
  void QuantizeStage(Stage& stage, size_t number);
  std::vector<StageStatistics> SumStatistics(size_t number, std::span<const StatisticsUnit> units,
                                             bool advance);
  void WeighTokens(size_t batch, const BlockState& state);
  void AddStatistics(size_t batch, size_t number, std::span<BlockState> states,
                     std::span<const StatisticsUnit> units, std::vector<Sums>& sums);
  // `unquantized`: the same input in the unquantized model, if there is one. `states`: of the residual
  // streams.
  void AddInput(MatrixView input, const MatrixView* unquantized, std::span<const BlockState> states,
                std::span<const float> weights, Sums& sums);
  std::optional<TargetShift> MakeShift(const Stage& stage, const StatisticsUnit& unit) const;
  void QuantizeUnit(Stage& stage, const StatisticsUnit& unit, StageStatistics& statistics);
  void QuantizeGroup(std::span<LinearLayer> linears, const Metric& metric);
  std::string DescribeUnit(const Stage& stage, const StatisticsUnit& unit) const;
  void TellOfExperts(const Stage& stage);
  void Advance(const Block& block, size_t number, BlockState& state);
  std::span<BlockState> AdvanceBatch(size_t batch, size_t number);
  bool LooksAtHidden(size_t number) const;
  void EndBlock();
  void QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan, const Metric& metric);
  MatrixSolution SolveGroup(const ConstMatrixView& weight, const PlannedLinear& plan, const Metric& metric,
                            const SolverOptions& solver, const ConstMatrixView* target);
  StoredMatrix Solve(const LinearLayer& linear, const PlannedLinear& plan, const Metric& metric,
                     LayerReport& layer);
  double ForwardFlops(size_t number) const;

  QuantizeJob& job_;
  int64_t statistics_bytes_;
  ActivationStore& store_;
  ModelOutput& output_;
  WorkReport& report_;
  Backend& backend_;
  Progress& progress_;
  int64_t index_ = 0;
  Block* block_ = nullptr;
  std::unique_ptr<Block> original_;                // the block in the unquantized model
  std::vector<std::vector<float>> token_weights_;  // of each batch's rows; only where tokens are weighted
  std::vector<int64_t> unseen_, damped_;           // experts of the stage: rounded to nearest, more damping
};

}  // namespace gptq
