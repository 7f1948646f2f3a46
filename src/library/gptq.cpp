// The public functions over the layers. Only here do the types of include/gptq and those of src meet.
#include <gptq/gptq.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "quant/recipe.h"
#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "workflow/resolve_options.h"

namespace gptq {
namespace {

// UsageError is no word of the public header.
template <typename Function>
auto WithPublicErrors(Function function) {
  try {
    return function();
  } catch (const UsageError& e) {
    throw std::invalid_argument(e.what());
  }
}

int CheckedThreads(int threads) {
  if (threads < 0 || threads > 4096)
    throw std::invalid_argument(Concat("threads ", threads, ": must be 0 to 4096"));
  return threads == 0 ? AvailableCores() : threads;
}

void CheckMatrix(const FloatMatrix& matrix, std::string_view name) {
  if (matrix.data == nullptr || matrix.rows < 1 || matrix.columns < 1) {
    throw Error(Concat("a matrix [", matrix.rows, ", ", matrix.columns, "]",
                       matrix.data == nullptr ? " without data" : ""),
                name, "give at least one row and one column");
  }
}

void CheckColumns(const FloatMatrix& matrix, int64_t columns, std::string_view name) {
  if (matrix.columns == columns) return;
  throw Error(Concat("a matrix of ", matrix.columns, " columns where ", columns, " are needed"), name,
              "give matrices that belong together");
}

ConstMatrixView View(const FloatMatrix& matrix) {
  return ConstMatrix(matrix.data, matrix.rows, matrix.columns);
}

QuantizedMatrix ToPublic(SolveResult result) {
  QuantizedMatrix matrix;
  matrix.rows = result.rows;
  matrix.columns = result.columns;
  matrix.groups = result.groups;
  matrix.codes = std::move(result.codes);
  matrix.scales = std::move(result.scales);
  matrix.zeros = std::move(result.zeros);
  matrix.group_index = std::move(result.group_index);
  matrix.dequantized = std::move(result.dequantized);
  return matrix;
}

QuantizedMatrix ToPublic(MatrixSolution solution) {
  QuantizedMatrix matrix = ToPublic(std::move(solution.result));
  matrix.loss = solution.loss;
  matrix.relative_error = solution.relative_error;
  matrix.damping = solution.damping;
  matrix.fell_back = solution.fell_back;
  matrix.warnings = std::move(solution.warnings);
  return matrix;
}

QuantizedMatrix RoundAlone(const FloatMatrix& weight, const SolverOptions& options, std::string_view name,
                           ThreadPool& pool) {
  if (!AllFinite(View(weight)))
    throw Error("the weights hold NaN or infinite values", name, "check where they come from");
  return ToPublic(RoundToNearest(View(weight), options, pool));
}

std::vector<QuantizedMatrix> QuantizeWeights(std::span<const FloatMatrix> weights, const FloatMatrix& hessian,
                                             const QualityOptions& options, int threads) {
  const SolverOptions solver = ResolveSolverOptions(options, DType::kF32);
  const Method method = ParseMethod(options.method);
  ThreadPool pool(CheckedThreads(threads));
  const bool alone = method == Method::kRoundToNearest && hessian.data == nullptr;
  if (!alone) {
    CheckMatrix(hessian, "the hessian");
    CheckColumns(hessian, hessian.rows, "the hessian");
  }
  const HessianView metric{hessian.data, hessian.columns};
  std::optional<InverseFactor> factor;
  if (method == Method::kGptq) factor = FactorForOptions(metric, solver, "the hessian", pool);
  std::vector<QuantizedMatrix> quantized;
  for (size_t i = 0; i < weights.size(); ++i) {
    const std::string name = Concat("weight ", i);
    CheckMatrix(weights[i], name);
    if (!alone) CheckColumns(weights[i], hessian.columns, name);
    if (alone) {
      quantized.push_back(RoundAlone(weights[i], solver, name, pool));
    } else if (method == Method::kGptq) {
      quantized.push_back(
          ToPublic(SolveMatrix(View(weights[i]), metric, factor, method, solver, name, pool)));
    } else {
      quantized.push_back(ToPublic(SolveMatrix(View(weights[i]), metric, method, solver, name, pool)));
    }
  }
  return quantized;
}

class CallbackProgress : public Progress {
 public:
  explicit CallbackProgress(const ModelCallbacks& callbacks) : callbacks_(callbacks) {}
  void Stage(std::string_view name, int64_t steps) override {
    stage_ = name;
    steps_ = steps;
    Step(0);
  }
  void Step(int64_t done) override {
    if (callbacks_.progress) callbacks_.progress(stage_, done, steps_);
  }
  void Note(std::string_view message) override {
    if (callbacks_.message) callbacks_.message(message);
  }
  void Warn(std::string_view message) override { Note(message); }

 private:
  const ModelCallbacks& callbacks_;
  std::string stage_;
  int64_t steps_ = 0;
};

}  // namespace

struct LayerInputs::State {
  State(int64_t column_count, int threads) : columns(column_count), pool(threads), sum(columns) {}

  int64_t columns;
  ThreadPool pool;
  std::optional<HessianAccumulator> sum;
};

LayerInputs::LayerInputs(int64_t columns, int threads) {
  if (columns < 1) throw std::invalid_argument(Concat("columns ", columns, ": must be 1 or more"));
  state_ = std::make_unique<State>(columns, CheckedThreads(threads));
}

LayerInputs::~LayerInputs() = default;
LayerInputs::LayerInputs(LayerInputs&&) noexcept = default;
LayerInputs& LayerInputs::operator=(LayerInputs&&) noexcept = default;

void LayerInputs::Add(const FloatMatrix& inputs) {
  CheckMatrix(inputs, "the inputs");
  CheckColumns(inputs, state_->columns, "the inputs");
  state_->sum->Add(inputs.data, inputs.rows, inputs.columns, state_->pool);
}

int64_t LayerInputs::tokens() const { return state_->sum->tokens(); }

std::vector<float> LayerInputs::Hessian() {
  if (tokens() == 0) throw Error("there are no inputs", "the layer", "add at least one token");
  gptq::Hessian hessian = state_->sum->Finish(state_->pool);
  const int64_t n = state_->columns;
  state_->sum.emplace(n);
  if (!AllFinite(hessian.view())) {
    throw Error("the inputs hold NaN or infinite values, or their squares overflow", "the layer",
                "check where they come from");
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) hessian.values[static_cast<size_t>(i * n + j)] = hessian.view().at(j, i);
  }
  return std::move(hessian.values);
}

std::vector<QuantizedMatrix> QuantizeLayer(std::span<const FloatMatrix> weights, const FloatMatrix& hessian,
                                           const QualityOptions& options, int threads) {
  return WithPublicErrors([&] { return QuantizeWeights(weights, hessian, options, threads); });
}

QuantizedMatrix QuantizeMatrix(const FloatMatrix& weight, const FloatMatrix& hessian,
                               const QualityOptions& options, int threads) {
  return std::move(QuantizeLayer({&weight, 1}, hessian, options, threads).front());
}

QuantizedModel QuantizeModel(const std::filesystem::path& model, const std::filesystem::path& output,
                             const ModelOptions& options, int threads, const ModelCallbacks& callbacks) {
  return WithPublicErrors([&] {
    QuantizeOptions resolved = ResolveQuantizeOptions(options);
    resolved.model = model;
    resolved.output = output;
    const std::unique_ptr<Backend> backend = MakeCpuBackend(CheckedThreads(threads));
    CallbackProgress progress(callbacks);
    const QuantizeReport report = Quantize(resolved, *backend, progress);
    QuantizedModel result{
        report.output, report.bits_per_weight, report.calibration_samples, report.calibration_tokens, {}};
    for (const LayerReport& layer : report.layers) {
      result.linears.push_back({layer.name, layer.rows, layer.columns, layer.bits, layer.group_size,
                                layer.loss, layer.relative_error, layer.damping});
    }
    return result;
  });
}

}  // namespace gptq
