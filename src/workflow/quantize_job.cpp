#include "workflow/quantize_job.h"

#include <algorithm>
#include <map>
#include <set>

#include "quant/gptq_format.h"
#include "workflow/output_form.h"
#include "workflow/quantize_head.h"
#include "workflow/sequence_length.h"

namespace gptq {
namespace {

CalibrationSet LoadSamples(const QuantizeOptions& options, ModelFiles& model, Progress& progress) {
  const ModelSpec& spec = model.spec();
  std::optional<Tokenizer> tokenizer;
  CalibrationOptions calibration = options.calibration;
  if (calibration.file.extension() != ".safetensors") {
    calibration.sequence_length =
        UsualSequenceLength(model, calibration.sequence_length, "--sequence-length", progress);
    tokenizer = model.LoadTokenizer();
  }
  CalibrationSet samples =
      LoadCalibration(calibration, tokenizer ? &*tokenizer : nullptr, spec.vocabulary, progress);
  if (samples.tokens_per_sample > spec.max_positions) {
    throw Error(Concat("samples of ", samples.tokens_per_sample, " tokens, the model takes at most ",
                       spec.max_positions),
                calibration.file.string(), "cut them shorter");
  }
  if (spec.mask_token) MaskTokens(*spec.mask_token, options.calibration.seed, samples);
  return samples;
}

// One sequence of scattered tokens.
CalibrationSet CheckTokens(const ModelSpec& spec) {
  CalibrationSet samples;
  samples.samples = 1;
  samples.tokens_per_sample = std::min(kCheckTokens, spec.max_positions);
  for (int64_t i = 0; i < samples.tokens_per_sample; ++i)
    samples.ids.push_back(static_cast<int32_t>((i * 7919 + 17) % spec.vocabulary));
  return samples;
}

// Among the linears of `uniform`, which outlives the result.
AllocationOptions AllocationOf(const QuantizeJob& job, double target_bits, const QuantizePlan& uniform) {
  AllocationOptions allocation;
  allocation.target_bits = target_bits;
  if (job.options.format == WeightFormat::kGguf) {
    allocation.choices = GgufChoices();
    allocation.probe = {0, 0, DType::kQ3_K};
  } else {
    allocation.choices = UniformChoices(job.options.group_sizes);
    allocation.probe.group_size = job.options.group_sizes.front();
  }
  allocation.solver = job.options.solver;
  allocation.wanted = [&](const std::string& name) { return uniform.contains(name); };
  allocation.passed = [&] { job.model->source().ReleaseAll(); };
  return allocation;
}

std::map<std::string, LinearChoice> ChooseBits(const QuantizeJob& job, Progress& progress) {
  SilentProgress silent;
  const QuantizePlan uniform = MakePlan(job.options, {}, *job.decoder, silent);
  return AllocateBits(AllocationOf(job, job.options.target_bits, uniform), job.samples, *job.decoder,
                      progress);
}

}  // namespace

void CheckTargetBits(const QuantizeJob& job, double target_bits) {
  CheckTargetBits(AllocationOf(job, target_bits, job.plan), *job.decoder);
}

ActivationShape QuantizeJob::activations() const {
  ActivationShape shape;
  for (int64_t loop = 0; loop < (calibrated() ? model->spec().loops : 1); ++loop) {
    shape.batches.insert(shape.batches.end(), static_cast<size_t>(samples.samples),
                         {1, samples.tokens_per_sample});
    if (!samples.sinks.empty()) shape.batches.push_back({static_cast<int64_t>(samples.sinks.size()), 1});
  }
  shape.streams = shifted() ? 2 : 1;
  shape.hidden = model->spec().hidden;
  for (const Block& block : decoder->blocks()) {
    for (size_t stage = 0; stage < block.stages().size(); ++stage)
      shape.widest_input = std::max(shape.widest_input, block.InputColumns(stage));
  }
  return shape;
}

std::vector<StatisticsUnit> QuantizeJob::Units(const Stage& stage) const {
  if (!calibrated()) return {};
  std::vector<StatisticsUnit> units = StatisticsUnits(
      stage, options.calibrate_all_experts, [&](const std::string& name) { return plan.contains(name); });
  for (StatisticsUnit& unit : units) {
    if (options.asymmetric_calibration != 0) unit.input_rows = unit.columns;
    if (options.residual_correction != 0 && stage.added_scale != 0) unit.residual_rows = model->spec().hidden;
  }
  return units;
}

QuantizeJob PrepareJob(const QuantizeOptions& options, std::map<std::string, LinearChoice> choices,
                       Backend& backend, Progress& progress) {
  Validate(options.solver);
  QuantizeJob job;
  job.options = options;
  if (!job.calibrated()) {  // without H there is no order but the natural one
    job.options.solver.order = Order::kNatural;
    job.options.solver.static_groups = false;
    job.options.asymmetric_calibration = 0;
    job.options.residual_correction = 0;
    job.options.token_weighting = TokenWeighting::kNone;
  }
  job.model = ModelFiles::Open(options.model, options.architecture);
  if (job.model->quantization()) {
    throw Error("the model is quantized already", options.model.string(), "start from the original model");
  }
  job.samples =
      job.calibrated() ? LoadSamples(job.options, *job.model, progress) : CheckTokens(job.model->spec());
  job.decoder = job.model->LoadDecoder(backend, job.samples.tokens_per_sample);
  job.choices = std::move(choices);
  if (job.options.target_bits > 0 && job.choices.empty()) job.choices = ChooseBits(job, progress);
  job.plan = MakePlan(job.options, job.choices, *job.decoder, progress);
  job.side_files = SideFiles(*job.model);
  job.model->source().ReleaseAll();
  return job;
}

namespace {

// Those of most linears: what differs stands beside them.
LinearSettings MostCommonSettings(const QuantizePlan& plan) {
  std::vector<std::pair<LinearSettings, int64_t>> counts;
  for (const auto& [name, linear] : plan) {
    const auto same = [&](const auto& entry) { return entry.first == linear.settings; };
    const auto found = std::ranges::find_if(counts, same);
    if (found == counts.end()) {
      counts.emplace_back(linear.settings, 1);
    } else {
      ++found->second;
    }
  }
  return std::ranges::max_element(counts, {}, &std::pair<LinearSettings, int64_t>::second)->first;
}

}  // namespace

QuantizationConfig ConfigOf(QuantizeJob& job, Progress& progress) {
  const QuantizeOptions& options = job.options;
  QuantizationConfig config;
  config.settings = {options.solver.bits, options.solver.group_size, options.solver.symmetric,
                     options.format};
  if (options.target_bits > 0) config.settings = MostCommonSettings(job.plan);
  config.activation_order = options.solver.order == Order::kActivation && !options.solver.static_groups;
  config.quantizer = "gptq.cpp:" GPTQ_VERSION;
  if (job.calibrated()) config.damping = options.solver.damping;
  config.static_groups = options.solver.static_groups;
  config.group_aware_order = options.solver.order == Order::kGroup;
  std::vector<std::pair<std::string, std::optional<LinearSettings>>> differing;
  for (const Block& block : job.decoder->blocks()) {
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) {
        const auto planned = job.plan.find(linear.name);
        std::optional<LinearSettings> settings;
        if (planned != job.plan.end()) settings = planned->second.settings;
        if (settings != config.settings) differing.emplace_back(linear.name, settings);
      }
    }
  }
  if (const PlannedLinear* head = PlannedHead(job)) {
    config.lm_head = true;
    if (head->settings != config.settings) differing.emplace_back(head->name, head->settings);
  }
  // The same sentence returns in every block: one word about it is enough.
  std::map<std::string, std::string> sentences;
  for (const std::string& warning : AddOverrides(differing, config)) {
    std::string pattern = warning;
    std::erase_if(pattern, [](char c) { return c >= '0' && c <= '9'; });
    sentences.emplace(pattern, warning);
  }
  if (options.format == WeightFormat::kGguf) return config;  // no folder, none of its readers
  for (const auto& [pattern, warning] : sentences) job.refusals.push_back(warning);
  for (const std::string& warning : SettingWarnings(config)) job.refusals.push_back(warning);
  for (const std::string& warning : job.refusals) progress.Warn(warning);
  std::set<std::string> of_shapes;  // of which MakePlan has warned
  for (const auto& [name, linear] : job.plan) {
    for (const std::string& warning : ShapeWarnings(linear.rows, linear.columns, linear.settings))
      of_shapes.insert(warning);
  }
  job.refusals.insert(job.refusals.end(), of_shapes.begin(), of_shapes.end());
  return config;
}

}  // namespace gptq
