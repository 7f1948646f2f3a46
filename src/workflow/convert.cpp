#include "workflow/convert.h"

#include <algorithm>
#include <map>

#include "base/gguf_block.h"
#include "io/output_folder.h"
#include "io/writable_file.h"
#include "workflow/convert_plan.h"
#include "workflow/model_card.h"
#include "workflow/model_output.h"
#include "workflow/quantize_output.h"
#include "workflow/self_check.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

void CheckOptions(const ConvertOptions& options) {
  const bool gguf = options.format == WeightFormat::kGguf, plain = options.format == WeightFormat::kPlain;
  if (!gguf && (options.ends.embedding || options.ends.head))
    throw UsageError("--embedding-bits and --head-bits need --format gguf");
  if (!options.type) return;
  if (!gguf && !plain)
    throw UsageError(Concat("--type goes with --format gguf and safetensors, not ", Name(options.format)));
  if (plain && !IsFloat(*options.type))
    throw UsageError(Concat("--format safetensors holds f16, bf16 and f32, not ", Name(*options.type)));
}

// Linears of one fate in one line.
void Tell(const std::vector<ConvertedLinear>& linears, Progress& progress) {
  struct Fate {
    int64_t count = 0, before = 0, after = 0;
    double worst = 0;
    const ConvertedLinear* first = nullptr;
  };
  std::map<std::string, Fate> fates;
  for (const ConvertedLinear& linear : linears) {
    Fate& fate = fates[Concat(linear.from, " -> ", linear.to, linear.reason)];
    if (fate.count++ == 0) fate.first = &linear;
    fate.before += linear.bytes_before;
    fate.after += linear.bytes_after;
    fate.worst = std::max(fate.worst, linear.relative_error.value_or(0));
  }
  for (const auto& [key, fate] : fates) {
    const ConvertedLinear& linear = *fate.first;
    const std::string what = Concat(fate.count, " matrices, ", linear.from, " -> ", linear.to);
    const std::string bytes = Concat("; ", fate.before, " bytes become ", fate.after);
    switch (linear.keeping) {
      case Keeping::kCodes:
        progress.Note(what + ": codes kept" + bytes);
        break;
      case Keeping::kMinima:
        progress.Note(what + ": codes kept, minima rounded to float16" + bytes);
        break;
      case Keeping::kFloats:
      case Keeping::kRounded:
        progress.Warn(Concat(what, ": values not kept as they are (", linear.reason, "), first ", linear.name,
                             "; greatest relative error ", fate.worst, bytes));
    }
  }
}

std::unique_ptr<OutputForm> MakeForm(ModelFiles& model, const ConvertOptions& options,
                                     const ConvertPlan& plan) {
  if (options.format != WeightFormat::kGguf) {
    return MakeFolderForm(model, plan.linears, plan.config, SideFiles(model), options.type);
  }
  return MakeGgufForm(model, plan.linears, plan.types);
}

void WriteLinears(ModelFiles& model, const ConvertOptions& options, const ConvertPlan& plan,
                  ModelOutput& output, Progress& progress) {
  progress.Stage("convert", static_cast<int64_t>(plan.linears.size()));
  int64_t done = 0;
  for (const auto& [module, linear] : plan.linears) {
    PackedWeight weight = *LoadCodes(model, module);
    if (options.format != WeightFormat::kGguf && options.format != WeightFormat::kPlain)
      weight = Widened(std::move(weight), linear.settings.bits);
    output.WriteLinear(module, StoredMatrix(std::move(weight)));
    model.source().ReleaseAll();
    progress.Step(++done);
  }
}

// How far a written matrix may be from the source's.
double ErrorBound(const ConvertedLinear& linear) {
  constexpr double kRoundOff = 1e-6;
  switch (linear.keeping) {
    case Keeping::kCodes:
      return kRoundOff;
    case Keeping::kMinima:
      return kKeptBound;
    case Keeping::kFloats:
    case Keeping::kRounded:
      return linear.relative_error.value_or(0) * 1.001 + kRoundOff;
  }
  CHECK(false);
  return 0;
}

// Every tensor against the source's, as far as the plan says; both models on a few scattered tokens with the
// source's tensors, which shows what the config says.
WrittenErrors Check(const ConvertOptions& options, const ConvertPlan& plan, const fs::path& written,
                    Backend& backend) {
  const auto source = ModelFiles::Open(options.model, options.architecture);
  const int64_t tokens = std::min<int64_t>(32, source->spec().max_positions);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(static_cast<int32_t>((i * 7919 + 17) % source->spec().vocabulary));
  Matrix logits = LogitsBlockByBlock(*source, ids, backend);
  std::map<std::string, double> bounds;
  for (const ConvertedLinear& linear : plan.report) bounds[linear.name] = ErrorBound(linear);
  WrittenModules modules;
  modules.replaced = [](const std::string&) { return false; };
  modules.bound = [&](const std::string& module) {
    const auto found = bounds.find(module);
    return found == bounds.end() ? kKeptBound : found->second;
  };
  return CheckWritten(written, options.architecture, source->source(), modules, ids, logits.view(), backend);
}

}  // namespace

ConvertReport Convert(const ConvertOptions& options, Backend& backend, Progress& progress) {
  CheckOptions(options);
  if (!options.dry_run) CheckOutputPath(options.output, options.overwrite, options.model);
  const auto model = ModelFiles::Open(options.model, options.architecture);
  const ConvertPlan plan = PlanConversion(*model, options, backend, progress);
  ConvertReport report{options.output,
                       options.format,
                       model->reader().tensor_bytes(),
                       0,
                       plan.report,
                       plan.quantized_linears,
                       plan.kept_linears,
                       {}};
  std::unique_ptr<OutputForm> form = MakeForm(*model, options, plan);
  Tell(plan.report, progress);
  if (options.dry_run) return report;

  const bool one_file = options.format == WeightFormat::kGguf;
  PendingOutput pending(options.output, one_file ? PendingOutput::Kind::kFile : PendingOutput::Kind::kFolder,
                        options.overwrite, Leftover::kRemove, kCheckpoint);
  {
    ModelOutput output(*model, std::move(form), pending.content(), false, backend.pool());
    WriteLinears(*model, options, plan, output, progress);
    output.Complete(progress);
    const auto card = one_file ? std::nullopt : ConvertedCard(*model, Name(options.format));
    if (card) WriteFile(pending.content() / kModelCard, *card);
  }
  report.bytes_after = CheckpointReader::Open(pending.content()).tensor_bytes();
  const WrittenErrors errors = Check(options, plan, pending.content(), backend);
  report.self_check = errors.logits;
  if (!(errors.logits <= kSelfCheckBound && errors.kept <= 1)) {
    pending.Keep();
    throw Error(errors.kept > 1
                    ? Concat("tensor '", errors.tensor, "' was not written as it was")
                    : Concat("what was written computes something else than the source: relative error ",
                             errors.logits),
                pending.content().string(), "this is a bug or a failing disk; report it");
  }
  pending.Commit();
  return report;
}

std::string_view Name(Keeping keeping) {
  switch (keeping) {
    case Keeping::kCodes:
      return "codes";
    case Keeping::kMinima:
      return "codes, minima rounded";
    case Keeping::kFloats:
      return "floats";
    case Keeping::kRounded:
      return "rounded";
  }
  CHECK(false);
  return "";
}

Json ToJson(const ConvertReport& report) {
  Json linears = Json::array();
  for (const ConvertedLinear& linear : report.linears) {
    Json entry{{"name", linear.name},
               {"from", linear.from},
               {"to", linear.to},
               {"kept", Name(linear.keeping)},
               {"bytes_before", linear.bytes_before},
               {"bytes_after", linear.bytes_after}};
    if (!linear.reason.empty()) entry["reason"] = linear.reason;
    if (linear.relative_error) entry["relative_error"] = *linear.relative_error;
    linears.push_back(std::move(entry));
  }
  Json json{{"output", report.output.string()},
            {"format", Name(report.format)},
            {"bytes_before", report.bytes_before},
            {"bytes_after", report.bytes_after},
            {"quantized_linears", report.quantized_linears},
            {"kept_linears", report.kept_linears},
            {"linears", std::move(linears)}};
  if (report.self_check) json["self_check"] = {{"relative_error", *report.self_check}};
  return json;
}

}  // namespace gptq
