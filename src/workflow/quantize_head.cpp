#include "workflow/quantize_head.h"

#include <algorithm>
#include <cmath>

#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "workflow/stage_statistics.h"

namespace gptq {
namespace {

// H and its factor; neither without calibration.
struct HeadMetric {
  Hessian hessian;
  std::optional<InverseFactor> factor;
};

HeadMetric SumStatistics(const PlannedLinear& head, QuantizeJob& job, ActivationStore& store,
                         WorkReport& report, Backend& backend, Progress& progress) {
  HeadMetric metric;
  if (!job.calibrated()) return metric;
  HessianAccumulator accumulator(head.columns, &backend);
  for (size_t batch = 0; batch < store.batches(); ++batch) {
    progress.Step(static_cast<int64_t>(batch));
    StageTimer timer(report, "hessian");
    const BlockState& state = store.Load(batch, true).front();
    const MatrixView input = job.decoder->HeadInput(state.hidden.view());
    if (accumulator.on_device()) {
      accumulator.AddOnDevice(input);
    } else {
      accumulator.Add(input.data, input.rows, input.columns, backend.pool());
    }
  }
  store.Unload();
  metric.hessian = accumulator.Finish(backend.pool());
  RepairHessian(metric.hessian);
  StageTimer timer(report, "factor");
  metric.factor = FactorForOptions(metric.hessian.view(), head.solver, head.name, backend.pool());
  return metric;
}

// The rows of `piece` behind those of `whole`, which has room for them.
void Append(const StoredMatrix& piece, int64_t first_row, StoredMatrix& whole) {
  if (const Tensor* blocks = std::get_if<Tensor>(&piece)) {
    auto& all = std::get<Tensor>(whole);
    const int64_t row_bytes = all.bytes() / all.shape()[0];
    std::copy_n(blocks->data(), blocks->bytes(), all.data() + first_row * row_bytes);
    return;
  }
  const auto& packed = std::get<PackedWeight>(piece);
  auto& all = std::get<PackedWeight>(whole);
  all.codes.insert(all.codes.end(), packed.codes.begin(), packed.codes.end());
  all.scales.insert(all.scales.end(), packed.scales.begin(), packed.scales.end());
  all.zeros.insert(all.zeros.end(), packed.zeros.begin(), packed.zeros.end());
}

// The whole head without rows, of the kind of its first piece.
StoredMatrix EmptyHead(const PlannedLinear& head, const StoredMatrix& first) {
  if (const Tensor* blocks = std::get_if<Tensor>(&first))
    return Tensor::Uninitialized(blocks->dtype(), {head.rows, head.columns});
  PackedWeight packed = std::get<PackedWeight>(first);
  packed.rows = head.rows;
  packed.codes.clear();
  packed.scales.clear();
  packed.zeros.clear();
  packed.codes.reserve(static_cast<size_t>(head.rows * head.columns));
  return packed;
}

}  // namespace

const PlannedLinear* PlannedHead(const QuantizeJob& job) {
  const ModelSpec& spec = job.model->spec();
  const auto found = spec.Has("head") ? job.plan.find(spec.Name("head")) : job.plan.end();
  return found == job.plan.end() ? nullptr : &found->second;
}

int64_t HeadPiece(const PlannedLinear& head) {
  constexpr int64_t kElements = int64_t{1} << 22;
  return std::min(head.rows, std::max<int64_t>(512, kElements / head.columns));
}

void QuantizeHead(const PlannedLinear& head, QuantizeJob& job, ActivationStore& store, ModelOutput& output,
                  WorkReport& report, Backend& backend, Progress& progress) {
  progress.Stage("quantize the head", static_cast<int64_t>(store.batches()) + head.rows);
  const HeadMetric metric = SumStatistics(head, job, store, report, backend, progress);
  LayerReport layer = DescribeLayer(head);
  std::optional<StoredMatrix> whole;
  double error = 0, outputs = 0;
  std::vector<float> values;
  const int64_t piece = HeadPiece(head);
  for (int64_t first = 0; first < head.rows; first += piece) {
    progress.Step(static_cast<int64_t>(store.batches()) + first);
    StageTimer stage(report, "solve");
    Timer timer(&layer.seconds);
    const int64_t count = std::min(piece, head.rows - first);
    values.resize(static_cast<size_t>(count * head.columns));
    job.decoder->head().ReadRows(first, count, values.data());
    const ConstMatrixView weight = ConstMatrix(values.data(), count, head.columns);
    MatrixSolution solution;
    if (job.calibrated()) {
      solution = SolveMatrix(weight, metric.hessian.view(), metric.factor, job.options.method, head.solver,
                             head.name, backend.pool());
      layer.loss = layer.loss.value_or(0) + solution.loss;
      layer.damping = solution.damping;
      error += solution.relative_error * solution.relative_error * solution.outputs;
      outputs += solution.outputs;
    } else {
      solution.result = RoundToNearest(weight, head.solver, backend.pool());
    }
    if (first == 0) {
      for (const std::string& warning : solution.warnings) progress.Warn(warning);
    }
    const StoredMatrix solved = ToStoredMatrix(std::move(solution.result), head.solver, head.name);
    if (!whole) whole = EmptyHead(head, solved);
    Append(solved, first, *whole);
  }
  if (job.calibrated()) {
    layer.relative_error = outputs > 0 ? std::sqrt(error / outputs) : 0;
    layer.tokens = metric.hessian.tokens;
  }
  report.layers.push_back(std::move(layer));
  StageTimer timer(report, "write");
  output.WriteLinear(head.name, *whole);
  job.decoder->SetHead(ToWeight(*std::move(whole), backend.pool()));
}

}  // namespace gptq
