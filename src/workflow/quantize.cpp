#include "workflow/quantize.h"

#include <chrono>

#include "quant/gptq_config.h"
#include "quant/hessian.h"
#include "quant/rtn.h"
#include "quant/solve_matrix.h"
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
  std::optional<Hessian> RunStage(int64_t block, size_t stage);
  void QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan, const Hessian* hessian,
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
  std::vector<BlockState> states_;  // one per sample
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
  model_->source().CheckFinite(backend_.pool());
}

void Quantizer::LoadSamples() {
  report_.calibration_samples = samples_.samples;
  report_.calibration_tokens = samples_.tokens();
  states_.resize(static_cast<size_t>(samples_.samples));
  const int64_t length = samples_.tokens_per_sample;
  for (size_t i = 0; i < states_.size(); ++i) {
    const std::span<const int32_t> ids(samples_.ids.data() + static_cast<int64_t>(i) * length,
                                       static_cast<size_t>(length));
    states_[i].tokens = length;
    states_[i].hidden = decoder_->Embed(ids, length);
  }
}

// 2 operations per weight and token; attention: scores and values of all keys up to each query.
double Quantizer::ForwardFlops(const Block& block, size_t stage) const {
  const auto tokens = static_cast<double>(samples_.tokens());
  double flops = 0;
  for (const LinearLayer& linear : block.stages()[stage].linears) {
    flops +=
        2 * tokens * static_cast<double>(linear.weight.rows()) * static_cast<double>(linear.weight.columns());
  }
  if (stage == 0) {
    flops += 2 * tokens * static_cast<double>(samples_.tokens_per_sample + 1) *
             static_cast<double>(model_->spec().query_width());
  }
  return flops;
}

// Brings all samples to the input of `stage` and sums its Hessian, if any of its linears is to be quantized.
std::optional<Hessian> Quantizer::RunStage(int64_t index, size_t stage) {
  const Block& block = decoder_->blocks()[static_cast<size_t>(index)];
  const std::vector<LinearLayer>& linears = block.stages()[stage].linears;
  const bool wanted =
      std::ranges::any_of(linears, [&](const LinearLayer& l) { return plan_.contains(l.name); });
  std::optional<HessianAccumulator> accumulator;
  if (wanted) accumulator.emplace(linears.front().weight.columns());
  for (BlockState& state : states_) {
    progress_.Step(index);  // the user may stop it here
    {
      Timer timer(&report_.stage_seconds["forward"]);
      if (stage == 0) {
        block.Begin(backend_, state);
      } else {
        block.Advance(backend_, stage - 1, decoder_->rotary(), state, nullptr);
      }
    }
    if (!wanted) continue;
    Timer timer(&report_.stage_seconds["hessian"]);
    accumulator->Add(state.input.data(), state.input.rows(), state.input.columns(), backend_.pool());
  }
  if (stage > 0) report_.forward_flops += ForwardFlops(block, stage - 1);
  if (!wanted) return std::nullopt;
  const auto columns = static_cast<double>(linears.front().weight.columns());
  report_.hessian_flops += static_cast<double>(samples_.tokens()) * columns * (columns + 1);
  Timer timer(&report_.stage_seconds["hessian"]);
  return accumulator->Finish(backend_.pool());
}

void Quantizer::QuantizeStage(int64_t index, size_t stage) {
  Stage& linears = decoder_->blocks()[static_cast<size_t>(index)].stages()[stage];
  const bool calibrated = options_.method == Method::kGptq;
  std::optional<Hessian> hessian;
  if (calibrated) hessian = RunStage(index, stage);
  std::optional<InverseFactor> factor;
  if (hessian) {
    Timer timer(&report_.stage_seconds["factor"]);
    const std::string name = Concat("block ", index, ", ", linears.name);
    factor = FactorForOptions(hessian->view(), options_.solver, name, backend_.pool());
  }
  for (LinearLayer& linear : linears.linears) {
    const auto planned = plan_.find(linear.name);
    if (planned != plan_.end())
      QuantizeLinear(linear, planned->second, hessian ? &*hessian : nullptr, factor);
  }
}

void Quantizer::QuantizeLinear(LinearLayer& linear, const PlannedLinear& plan, const Hessian* hessian,
                               const std::optional<InverseFactor>& factor) {
  LayerReport layer{plan.name, plan.rows, plan.columns, plan.solver.bits, plan.solver.group_size, {}, {},
                    {},        0};
  PackedWeight packed;
  {
    Timer timer(&layer.seconds);
    const std::vector<float> values = ReadAll(linear.weight);
    const ConstMatrixView weight = ConstMatrix(values.data(), plan.rows, plan.columns);
    if (hessian == nullptr) {
      packed = ToPackedWeight(RoundToNearest(weight, plan.solver, backend_.pool()), plan.solver, plan.name);
    } else {
      MatrixSolution solution = SolveMatrix(weight, hessian->view(), factor, options_.method, plan.solver,
                                            plan.name, backend_.pool());
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
  for (size_t stage = 0; stage < stages; ++stage) QuantizeStage(index, stage);
  const bool last = index + 1 == model_->spec().layers;
  if (options_.method == Method::kGptq && !last) {
    Timer timer(&report_.stage_seconds["forward"]);
    for (BlockState& state : states_) block.Advance(backend_, stages - 1, decoder_->rotary(), state, nullptr);
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
          {"calibration", {{"samples", report.calibration_samples}, {"tokens", report.calibration_tokens}}},
          {"layers", std::move(layers)},
          {"stages", report.stage_seconds},
          {"forward_flops", report.forward_flops},
          {"hessian_flops", report.hessian_flops}};
}

}  // namespace gptq
