#include "workflow/quantize.h"

#include <chrono>
#include <cmath>

#include "quant/gptq_config.h"
#include "quant/hessian.h"
#include "quant/rtn.h"
#include "quant/solve_matrix.h"
#include "quant/target_shift.h"
#include "workflow/quantize_output.h"
#include "workflow/quantize_plan.h"

namespace gptq {
namespace {

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

std::vector<float> ReadAll(const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows() * weight.columns()));
  weight.ReadRows(0, weight.rows(), values.data());
  return values;
}

// What a stage's linears are solved with.
struct StageStatistics {
  Hessian hessian;
  std::optional<InputShift> shift;  // with asymmetric calibration
};

// Rows of `x` times the square roots of the tokens' weights.
void ScaleRows(Matrix& x, std::span<const float> weights, ThreadPool& pool) {
  pool.ParallelFor(x.rows(), [&](int64_t r) {
    const float factor = std::sqrt(weights[static_cast<size_t>(r)]);
    float* row = x.data() + r * x.columns();
    for (int64_t c = 0; c < x.columns(); ++c) row[c] *= factor;
  });
}

Matrix Copy(const Matrix& x) {
  Matrix copy(x.rows(), x.columns());
  std::copy_n(x.data(), x.rows() * x.columns(), copy.data());
  return copy;
}

// Runs the calibration samples through the model stage by stage; each linear multiplies each token once, with
// the quantized weights of everything before it.
class Quantizer {
 public:
  Quantizer(const QuantizeOptions& options, Backend& backend, Progress& progress)
      : options_(options),
        backend_(backend),
        progress_(progress),
        model_(ModelFiles::Open(options.model, options.architecture)) {}

  QuantizeReport Run();

 private:
  void Prepare();
  void LoadSamples();
  void QuantizeBlock(int64_t index);
  void QuantizeStage(int64_t block, size_t stage);
  std::optional<StageStatistics> RunStage(int64_t block, size_t stage);
  void Advance(const Block& block, size_t stage, BlockState& state);
  void FindTokenWeights(const Block& block, size_t batch);
  void QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan, const StageStatistics* statistics,
                      const std::optional<InverseFactor>& factor);
  double ForwardFlops(const Block& block, size_t stage) const;
  GptqConfig Config() const;

  const QuantizeOptions& options_;
  Backend& backend_;
  Progress& progress_;
  std::unique_ptr<ModelFiles> model_;
  std::unique_ptr<Decoder> decoder_;
  QuantizePlan plan_;
  std::unique_ptr<QuantizeOutput> output_;
  CalibrationSet samples_;
  // One per sample, and one for all sequences of a single token.
  std::vector<BlockState> states_;
  std::vector<BlockState> unquantized_states_;     // the same in the original model; only where it is needed
  std::unique_ptr<Block> original_;                // the current block of that model
  std::vector<std::vector<float>> token_weights_;  // of each state's rows; only where tokens are weighted
  QuantizeReport report_;
};

void Quantizer::Prepare() {
  Timer timer(&report_.stage_seconds["load"]);
  if (model_->quantization()) {
    throw Error("the model is quantized already", options_.model.string(), "start from the original model");
  }
  const bool calibrate = options_.method == Method::kGptq;
  if (calibrate) {
    std::optional<Tokenizer> tokenizer;
    CalibrationOptions calibration = options_.calibration;
    calibration.sequence_length = std::min(calibration.sequence_length, model_->spec().max_positions);
    if (calibration.file.extension() != ".safetensors") tokenizer = model_->LoadTokenizer();
    samples_ =
        LoadCalibration(calibration, tokenizer ? &*tokenizer : nullptr, model_->spec().vocabulary, progress_);
    if (samples_.tokens_per_sample > model_->spec().max_positions) {
      throw Error(Concat("samples of ", samples_.tokens_per_sample, " tokens, the model takes at most ",
                         model_->spec().max_positions),
                  calibration.file.string(), "cut them shorter");
    }
  }
  decoder_ = model_->LoadDecoder(backend_, std::max<int64_t>(1, samples_.tokens_per_sample));
  plan_ = MakePlan(options_, *decoder_, progress_);
  model_->source().CheckContents(backend_.pool());
}

void Quantizer::LoadSamples() {
  report_.calibration_samples = samples_.samples;
  report_.calibration_tokens = samples_.tokens();
  report_.sink_sequences = static_cast<int64_t>(samples_.sinks.size());
  const int64_t length = samples_.tokens_per_sample;
  for (int64_t i = 0; i < samples_.samples; ++i) {
    const std::span<const int32_t> ids(samples_.ids.data() + i * length, static_cast<size_t>(length));
    states_.push_back({1, length, 0, decoder_->Embed(ids, length), {}});
  }
  if (!samples_.sinks.empty()) {
    states_.push_back({report_.sink_sequences, 1, 0, decoder_->Embed(samples_.sinks, 1), {}});
  }
  token_weights_.resize(states_.size());
  if (options_.asymmetric_calibration == 0) return;
  for (const BlockState& state : states_) {
    unquantized_states_.push_back({state.sequences, state.tokens, 0, Copy(state.hidden), {}});
  }
}

// 2 operations per weight and token; attention: scores and values of all keys up to each query.
double Quantizer::ForwardFlops(const Block& block, size_t stage) const {
  const auto tokens = static_cast<double>(samples_.tokens() + report_.sink_sequences);
  double flops = 0;
  for (const LinearLayer& linear : block.stages()[stage].linears) {
    flops +=
        2 * tokens * static_cast<double>(linear.weight.rows()) * static_cast<double>(linear.weight.columns());
  }
  if (stage == 0) {
    flops += 2 * static_cast<double>(samples_.tokens()) *
             static_cast<double>(samples_.tokens_per_sample + 1) *
             static_cast<double>(model_->spec().query_width());
  }
  return flops * (unquantized_states_.empty() ? 1 : 2);
}

// Brings the state from the stage before to the input of `stage`.
void Quantizer::Advance(const Block& block, size_t stage, BlockState& state) {
  Timer timer(&report_.stage_seconds["forward"]);
  if (stage == 0) {
    block.Begin(backend_, state);
  } else {
    block.Advance(backend_, stage - 1, decoder_->rotary(), state, nullptr);
  }
}

void Quantizer::FindTokenWeights(const Block& block, size_t batch) {
  Timer timer(&report_.stage_seconds["forward"]);
  token_weights_[batch] = block.ReceivedAttention(backend_, decoder_->rotary(), states_[batch]);
}

// Brings all samples to the input of `stage` and sums its statistics, if any of its linears is to be
// quantized.
std::optional<StageStatistics> Quantizer::RunStage(int64_t index, size_t stage) {
  const Block& block = decoder_->blocks()[static_cast<size_t>(index)];
  const std::vector<LinearLayer>& linears = block.stages()[stage].linears;
  const int64_t columns = linears.front().weight.columns();
  const bool wanted =
      std::ranges::any_of(linears, [&](const LinearLayer& l) { return plan_.contains(l.name); });
  const bool weighted = options_.token_weighting == TokenWeighting::kAttention;
  HessianAccumulator accumulator(wanted ? columns : 0);
  std::optional<InputShift> shift;
  if (wanted && original_) shift.emplace(columns);
  for (size_t i = 0; i < states_.size(); ++i) {
    progress_.Step(index);  // the user may stop it here
    Advance(block, stage, states_[i]);
    if (original_) Advance(*original_, stage, unquantized_states_[i]);
    if (weighted && stage == 0) FindTokenWeights(block, i);
    if (!wanted) continue;
    Timer timer(&report_.stage_seconds["hessian"]);
    const auto add = [&](const Matrix& input, const Matrix* unquantized) {
      accumulator.Add(input.data(), input.rows(), columns, backend_.pool());
      if (shift) shift->Add(unquantized->data(), input.data(), input.rows(), backend_.pool());
    };
    if (!weighted) {
      add(states_[i].input, shift ? &unquantized_states_[i].input : nullptr);
      continue;
    }
    Matrix input = Copy(states_[i].input), unquantized;
    ScaleRows(input, token_weights_[i], backend_.pool());
    if (shift) {
      unquantized = Copy(unquantized_states_[i].input);
      ScaleRows(unquantized, token_weights_[i], backend_.pool());
    }
    add(input, &unquantized);
  }
  if (stage > 0) report_.forward_flops += ForwardFlops(block, stage - 1);
  if (!wanted) return std::nullopt;
  report_.hessian_flops += static_cast<double>(accumulator.tokens()) * static_cast<double>(columns) *
                           (static_cast<double>(columns) * (shift ? 3 : 1) + 1);
  Timer timer(&report_.stage_seconds["hessian"]);
  return StageStatistics{accumulator.Finish(backend_.pool()), std::move(shift)};
}

void Quantizer::QuantizeStage(int64_t index, size_t stage) {
  Stage& linears = decoder_->blocks()[static_cast<size_t>(index)].stages()[stage];
  const bool calibrated = options_.method == Method::kGptq;
  std::optional<StageStatistics> statistics;
  if (calibrated) statistics = RunStage(index, stage);
  std::optional<InverseFactor> factor;
  if (statistics) {
    Timer timer(&report_.stage_seconds["factor"]);
    const std::string name = Concat("block ", index, ", ", linears.name);
    factor = FactorForOptions(statistics->hessian.view(), options_.solver, name, backend_.pool());
  }
  for (LinearLayer& linear : linears.linears) {
    const auto planned = plan_.find(linear.name);
    if (planned != plan_.end())
      QuantizeLinear(linear, planned->second, statistics ? &*statistics : nullptr, factor);
  }
}

void Quantizer::QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan,
                               const StageStatistics* statistics,
                               const std::optional<InverseFactor>& factor) {
  LayerReport layer{plan.name, plan.rows, plan.columns, plan.solver.bits, plan.solver.group_size, {}, {},
                    {},        0};
  PackedWeight packed;
  {
    Timer timer(&layer.seconds);
    const std::vector<float> values = ReadAll(linear.weight);
    const ConstMatrixView weight = ConstMatrix(values.data(), plan.rows, plan.columns);
    if (statistics == nullptr) {
      packed = ToPackedWeight(RoundToNearest(weight, plan.solver, backend_.pool()), plan.solver, plan.name);
    } else {
      std::vector<float> shifted;
      std::optional<ConstMatrixView> target;
      if (statistics->shift && factor) {
        shifted =
            statistics->shift->Target(weight, *factor, options_.asymmetric_calibration, backend_.pool());
        target = ConstMatrix(shifted.data(), plan.rows, plan.columns);
      }
      MatrixSolution solution =
          SolveMatrix(weight, statistics->hessian.view(), factor, options_.method, plan.solver, plan.name,
                      backend_.pool(), target ? &*target : nullptr);
      for (const std::string& warning : solution.warnings) progress_.Warn(warning);
      layer.loss = solution.loss;
      layer.relative_error = solution.relative_error;
      layer.damping = solution.damping;
      packed = ToPackedWeight(solution.result, plan.solver, plan.name);
    }
  }
  report_.stage_seconds["solve"] += layer.seconds;
  report_.layers.push_back(std::move(layer));
  Timer timer(&report_.stage_seconds["write"]);
  output_->WriteLinear(plan, packed);
  if (options_.observe) options_.observe(plan.name, packed);
  linear.weight = Weight(std::move(packed));
}

void Quantizer::QuantizeBlock(int64_t index) {
  Block& block = decoder_->blocks()[static_cast<size_t>(index)];
  const size_t stages = block.stages().size();
  if (!unquantized_states_.empty()) {
    original_ = std::make_unique<Block>(model_->spec(), index, model_->source());
  }
  for (size_t stage = 0; stage < stages; ++stage) QuantizeStage(index, stage);
  const bool last = index + 1 == model_->spec().layers;
  if (options_.method == Method::kGptq && !last) {
    for (BlockState& state : states_) Advance(block, stages, state);
    for (BlockState& state : unquantized_states_) Advance(*original_, stages, state);
    report_.forward_flops += ForwardFlops(block, stages - 1);
  }
  // Written and passed: the memory goes to the next block.
  for (Stage& stage : block.stages()) {
    for (LinearLayer& linear : stage.linears) linear.weight = Weight();
  }
}

GptqConfig Quantizer::Config() const {
  GptqConfig config;
  config.settings = {options_.solver.bits, options_.solver.group_size, options_.solver.symmetric,
                     options_.version};
  config.activation_order = options_.solver.order == Order::kActivation && !options_.solver.static_groups;
  config.quantizer = "gptq.cpp:" GPTQ_VERSION;
  if (options_.method == Method::kGptq) config.damping = options_.solver.damping;
  config.static_groups = options_.solver.static_groups;
  config.group_aware_order = options_.solver.order == Order::kGroup;
  std::vector<std::pair<std::string, std::optional<GptqSettings>>> differing;
  for (const Block& block : decoder_->blocks()) {
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) {
        const auto planned = plan_.find(linear.name);
        std::optional<GptqSettings> settings;
        if (planned != plan_.end()) settings = planned->second.settings;
        if (settings != config.settings) differing.emplace_back(linear.name, settings);
      }
    }
  }
  // The same sentence returns in every block: one word about it is enough.
  std::map<std::string, std::string> sentences;
  for (const std::string& warning : AddOverrides(differing, config)) {
    std::string pattern = warning;
    std::erase_if(pattern, [](char c) { return c >= '0' && c <= '9'; });
    sentences.emplace(pattern, warning);
  }
  for (const auto& [pattern, warning] : sentences) progress_.Warn(warning);
  for (const std::string& warning : SettingWarnings(config)) progress_.Warn(warning);
  return config;
}

QuantizeReport Quantizer::Run() {
  CheckOutputPath(options_.output, options_.overwrite, options_.model);
  Prepare();
  report_.output = options_.output;
  report_.bits_per_weight = BitsPerWeight(plan_);
  const GptqConfig config = Config();
  output_ = std::make_unique<QuantizeOutput>(options_, *model_, plan_);
  if (options_.method == Method::kGptq) LoadSamples();
  progress_.Stage("quantize", model_->spec().layers);
  for (int64_t block = 0; block < model_->spec().layers; ++block) {
    QuantizeBlock(block);
    progress_.Step(block + 1);
  }
  Timer timer(&report_.stage_seconds["write"]);
  output_->Finish(config, progress_);
  return std::move(report_);
}

}  // namespace

QuantizeReport Quantize(const QuantizeOptions& options, Backend& backend, Progress& progress) {
  Validate(options.solver);
  if (options.method == Method::kGptq) return Quantizer(options, backend, progress).Run();
  QuantizeOptions rounding = options;  // without H there is no order but the natural one
  rounding.solver.order = Order::kNatural;
  rounding.solver.static_groups = false;
  return Quantizer(rounding, backend, progress).Run();
}

Json ToJson(const QuantizeReport& report) {
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  Json layers = Json::array();
  for (const LayerReport& layer : report.layers) {
    layers.push_back({{"name", layer.name},
                      {"rows", layer.rows},
                      {"columns", layer.columns},
                      {"bits", layer.bits},
                      {"group_size", layer.group_size},
                      {"loss", or_null(layer.loss)},
                      {"relative_error", or_null(layer.relative_error)},
                      {"damping", or_null(layer.damping)},
                      {"seconds", layer.seconds}});
  }
  return {{"output", report.output.string()},
          {"bits_per_weight", report.bits_per_weight},
          {"calibration",
           {{"samples", report.calibration_samples},
            {"tokens", report.calibration_tokens},
            {"sink_sequences", report.sink_sequences}}},
          {"layers", std::move(layers)},
          {"stages", report.stage_seconds},
          {"forward_flops", report.forward_flops},
          {"hessian_flops", report.hessian_flops}};
}

}  // namespace gptq
