#include "workflow/quantize.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "io/output_folder.h"
#include "io/writable_file.h"
#include "workflow/model_card.h"
#include "workflow/model_output.h"
#include "workflow/quantize_block.h"
#include "workflow/quantize_estimate.h"
#include "workflow/quantize_head.h"
#include "workflow/quantize_job.h"
#include "workflow/quantize_journal.h"
#include "workflow/quantize_memory.h"
#include "workflow/quantize_output.h"
#include "workflow/quantize_settings.h"
#include "workflow/self_check.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

// Kernels and libraries that the last bits of a result may depend on: all of the description but the threads.
std::string ArithmeticOf(const Backend& backend) {
  const std::string description = backend.Describe();
  return description.substr(0, description.rfind(','));
}

// One call of Quantize, from the boundary that the journal names to the finished output.
class Quantizer {
 public:
  Quantizer(QuantizeJob& job, const QuantizationConfig& config, const MemoryPlan& memory,
            PendingOutput& folder, Backend& backend, Progress& progress)
      : job_(job),
        config_(config),
        memory_(memory),
        folder_(folder),
        backend_(backend),
        progress_(progress) {}

  // `journal`: of the earlier run to go on from; otherwise only its settings are filled in.
  QuantizeReport Run(QuantizeJournal journal);
  // What is written down by now saves another run time.
  bool can_go_on() const { return journal_.blocks_done > 0 || (begun_ && !journal_.choices.empty()); }
  int64_t blocks_done() const { return journal_.blocks_done; }

 private:
  void Resume();
  void Begin();
  void RunBlocks();
  void Finish();
  void CheckResult();
  void FillReport();

  QuantizeJob& job_;
  const QuantizationConfig& config_;
  const MemoryPlan& memory_;
  PendingOutput& folder_;
  Backend& backend_;
  Progress& progress_;
  QuantizeJournal journal_;
  bool begun_ = false;
  std::unique_ptr<ModelOutput> output_;
  std::unique_ptr<ActivationStore> store_;
  QuantizeReport report_;
};

QuantizeReport Quantizer::Run(QuantizeJournal journal) {
  const IntegerProducts products(backend_);
  journal_ = std::move(journal);
  FillReport();
  const bool resume = journal_.blocks_done > 0;
  output_ = std::make_unique<ModelOutput>(*job_.model, FormOf(job_, config_), folder_.content(), resume,
                                          backend_.pool());
  size_t resident = memory_.resident_batches;
  if (DeviceMemory* const memory = backend_.memory())  // half of it is for everything else
    resident = std::min(resident, ActivationStore::ResidentBatches(job_.activations(), memory->Free() / 2));
  store_ = std::make_unique<ActivationStore>(job_.activations(), resident, folder_.partial(),
                                             journal_.boundary, &backend_);
  if (resume) {
    Resume();
  } else {
    Begin();
  }
  RunBlocks();
  Finish();
  return std::move(report_);
}

void Quantizer::FillReport() {
  static_cast<WorkReport&>(report_) = journal_.work;
  report_.resumed_blocks = journal_.blocks_done;
  report_.source = job_.options.model;
  report_.output = job_.options.output;
  report_.settings = journal_.settings;
  report_.bits_per_weight = BitsPerWeight(job_.plan);
  report_.planned_bytes = memory_.peak;
  report_.spilled_bytes = memory_.spilled;
  if (!job_.calibrated()) return;
  report_.calibration_file = job_.options.calibration.file;
  report_.calibration_samples = job_.samples.samples;
  report_.calibration_tokens = job_.samples.tokens();
  report_.sink_sequences = static_cast<int64_t>(job_.samples.sinks.size());
}

void Quantizer::Resume() {
  for (const LayerReport& layer : report_.layers) {
    const auto planned = job_.plan.find(layer.name);
    if (planned == job_.plan.end()) continue;
    output_->MarkWritten(layer.name);
  }
  progress_.Note(Concat("going on after block ", journal_.blocks_done, " of ", job_.layers(), ", from ",
                        folder_.partial().string()));
  if (journal_.arithmetic != ArithmeticOf(backend_)) {
    progress_.Warn(Concat("the earlier blocks were computed by other kernels (", journal_.arithmetic,
                          "): the last bits may differ from those of a run in one go"));
  }
}

// The residual streams before the first block. Later loops begin with those of the unquantized model: all
// loops' inputs of a block then make one sum, and the block is quantized once.
void Quantizer::Begin() {
  journal_.arithmetic = ArithmeticOf(backend_);
  const CalibrationSet& samples = job_.samples;
  const int64_t length = samples.tokens_per_sample;
  const size_t of_loop = static_cast<size_t>(samples.samples) + (samples.sinks.empty() ? 0 : 1);
  for (size_t batch = 0; batch < store_->batches(); ++batch) {
    const auto sample = static_cast<int64_t>(batch % of_loop);
    const std::span<const int32_t> ids =
        sample < samples.samples
            ? std::span(samples.ids)
                  .subspan(static_cast<size_t>(sample * length), static_cast<size_t>(length))
            : std::span(samples.sinks);
    for (BlockState& state : store_->Load(batch, false)) {
      state.hidden = job_.decoder->Embed(ids, state.tokens);
      for (size_t loop = 0; loop < batch / of_loop; ++loop) job_.decoder->RunLoop(backend_, state);
    }
    store_->SaveBoundary(batch);
    job_.model->source().ReleaseAll();
  }
  store_->Unload();
  store_->FinishBoundary();
  SyncFolder(folder_.content());  // what the journal will speak of must be there after a power cut
  SyncFolder(folder_.path().parent_path());
  if (!journal_.choices.empty()) WriteJournal(folder_.partial(), journal_);
  begun_ = true;
}

void Quantizer::RunBlocks() {
  progress_.Stage("quantize", job_.layers());
  progress_.Step(journal_.blocks_done);
  BlockQuantizer blocks(job_, memory_.statistics, *store_, *output_, report_, backend_, progress_);
  while (journal_.blocks_done < job_.layers()) {
    blocks.Run(journal_.blocks_done);
    StageTimer timer(report_, "write");
    output_->Flush();
    QuantizeJournal next = journal_;
    next.boundary = store_->FinishBoundary();
    next.work = report_;
    ++next.blocks_done;
    WriteJournal(folder_.partial(), next);
    journal_ = std::move(next);  // only what is on the disk counts as done
    progress_.Step(journal_.blocks_done);
  }
}

void Quantizer::Finish() {
  if (const PlannedLinear* head = PlannedHead(job_))
    QuantizeHead(*head, job_, *store_, *output_, report_, backend_, progress_);
  {
    StageTimer timer(report_, "write");
    output_->Complete(progress_);
  }
  CheckResult();
  if (job_.options.format != WeightFormat::kGguf)
    WriteFile(folder_.content() / kModelCard, ModelCard(report_, *job_.model, job_.refusals));
  folder_.Commit();
}

// What was written, read as any other model, must compute what the model in memory does (in the first loop).
void Quantizer::CheckResult() {
  constexpr int64_t kTokens = 128;
  StageTimer timer(report_, "self_check");
  BlockState& state = store_->Load(0, true).front();
  const int64_t tokens = std::min(kTokens, state.tokens);
  Matrix hidden(tokens, state.hidden.columns());
  backend_.Copy(state.hidden.view().Rows(0, tokens), hidden.view());
  store_.reset();  // the logits take its place
  Matrix logits = job_.decoder->Logits(hidden.view());
  backend_.MakeReadable(logits);
  job_.model->source().ReleaseAll();
  const bool finite = std::all_of(logits.data(), logits.data() + logits.view().elements(),
                                  [](float value) { return std::isfinite(value); });
  if (!finite) {
    progress_.Warn("the quantized model's output is not finite: nothing can be checked");
    return;
  }
  const std::span<const int32_t> ids(job_.samples.ids.data(), static_cast<size_t>(tokens));
  const QuantizeOptions& options = job_.options;
  const ModelSpec& spec = job_.model->spec();
  WrittenModules modules;
  modules.replaced = [&](const std::string& module) { return job_.plan.contains(module); };
  modules.bound = [&](const std::string& module) {
    constexpr double kFewBits = 0.25;  // 4 or more
    const bool end = module == spec.Name("embedding") || (spec.Has("head") && module == spec.Name("head"));
    return end && (options.ends.embedding || options.ends.head) ? kFewBits
                                                                : kKeptBound;  // a tied head is the embedding
  };
  const WrittenErrors errors = CheckWritten(folder_.content(), options.architecture, job_.model->source(),
                                            modules, ids, logits.view(), backend_);
  report_.self_check = {errors.logits, tokens};
  if (errors.logits <= kSelfCheckBound && errors.kept <= 1) return;
  folder_.Keep();
  throw Error(errors.kept > 1
                  ? Concat("tensor '", errors.tensor, "' was not written as it was")
                  : Concat("what was written does not compute what the model in memory did: relative error ",
                           errors.logits),
              folder_.content().string(),
              "this is a bug or a failing disk; report it, or begin again with --restart");
}

// The earlier run was stopped when its output had just got its place: nothing is left to go on with.
bool IsGone(const fs::path& content) { return !fs::exists(content) || fs::is_empty(content); }

// The journal to go on from; otherwise the folder is empty and only what is known before the work is filled
// in. Throws Error where the folder holds other work.
QuantizeJournal OpenJournal(const QuantizeJob& job, PendingOutput& folder) {
  QuantizeJournal fresh;
  fresh.settings = DecidingSettings(job);
  fresh.choices = job.choices;
  if (!folder.continued()) return fresh;
  folder.Keep();  // whatever is wrong with it
  std::optional<QuantizeJournal> journal = ReadJournal(folder.partial());
  const bool nothing = !journal || (journal->blocks_done <= 0 && journal->choices.empty());
  if (nothing || (journal->blocks_done > 0 && IsGone(folder.content()))) {
    folder.Empty();
    folder.Keep(false);
    return fresh;
  }
  const std::vector<std::string> differences = DescribeDifferences(journal->settings, fresh.settings);
  if (differences.empty()) {
    if (journal->blocks_done > 0) return *std::move(journal);
    folder.Empty();  // its choices are known by now
    folder.Keep(false);
    return fresh;
  }
  std::string list;
  for (const std::string& difference : differences) list += (list.empty() ? "" : "; ") + difference;
  throw Error(Concat("unfinished work of another quantization is there: ", list), folder.partial().string(),
              "finish it with its own settings, or throw it away by --restart");
}

// What an earlier run has chosen for --target-bits; whether its settings are the same is found later.
std::map<std::string, LinearChoice> EarlierChoices(const QuantizeOptions& options) {
  const fs::path partial = PartialPath(options.output);
  if (options.target_bits == 0 || options.unfinished == Unfinished::kRestart) return {};
  const std::optional<QuantizeJournal> journal = ReadJournal(partial);
  return journal ? journal->choices : std::map<std::string, LinearChoice>();
}

void CheckResumable(const QuantizeOptions& options) {
  if (options.unfinished != Unfinished::kMustGoOn) return;
  if (fs::exists(JournalPath(PartialPath(options.output)))) return;
  throw Error("there is no unfinished work to go on from", PartialPath(options.output).string(),
              "leave out --resume to begin");
}

// Runs; where it fails and another run can go on, keeps what there is and says so.
QuantizeReport RunOrKeep(Quantizer& quantizer, QuantizeJournal journal, const QuantizeJob& job,
                         PendingOutput& folder) {
  const auto how_to_go_on = [&] {
    folder.Keep();
    return Concat("the same command goes on after block ", quantizer.blocks_done(), " of ", job.layers());
  };
  try {
    return quantizer.Run(std::move(journal));
  } catch (const Interrupted&) {
    if (!quantizer.can_go_on()) throw;
    throw Interrupted(how_to_go_on());
  } catch (const WriteError& e) {
    if (!quantizer.can_go_on()) throw;
    throw WriteError(Concat(e.what(), "; then ", how_to_go_on()), "", "");
  } catch (const std::bad_alloc&) {
    if (quantizer.can_go_on()) folder.Keep();
    throw;
  }
}

}  // namespace

QuantizeReport Quantize(const QuantizeOptions& options, Backend& backend, Progress& progress) {
  CheckOutputPath(options.output, options.overwrite, options.model);
  CheckResumable(options);
  double load_seconds = 0;
  QuantizeJob job;
  QuantizationConfig config;
  MemoryPlan memory;
  {
    Timer timer(&load_seconds);
    job = PrepareJob(options, EarlierChoices(options), backend, progress);
    config = ConfigOf(job, progress);
    memory = PlanMemory(job, backend.pool().threads());
    job.contents = job.model->source().CheckContents(backend.pool());
  }
  const bool one_file = options.format == WeightFormat::kGguf;
  PendingOutput folder(
      options.output, one_file ? PendingOutput::Kind::kFile : PendingOutput::Kind::kFolder, options.overwrite,
      options.unfinished == Unfinished::kRestart ? Leftover::kRemove : Leftover::kContinue, kCheckpoint);
  QuantizeJournal journal = OpenJournal(job, folder);
  if (options.unfinished == Unfinished::kMustGoOn && journal.blocks_done == 0) {
    throw Error("the unfinished work has not come to the end of its first block", folder.partial().string(),
                "leave out --resume to begin");
  }
  journal.work.stage_seconds["load"] += load_seconds;
  Quantizer quantizer(job, config, memory, folder, backend, progress);
  return RunOrKeep(quantizer, std::move(journal), job, folder);
}

Json PlanQuantization(const QuantizeOptions& options, Backend& backend, Progress& progress) {
  QuantizeOptions planned = options;
  if (options.target_bits > 0) {
    planned.target_bits = 0;
    progress.Note(
        "--target-bits: what each linear gets is measured by the run itself, which takes a while; "
        "the plan is that of linears that are all alike");
  }
  QuantizeJob job = PrepareJob(planned, {}, backend, progress);
  if (options.target_bits > 0) CheckTargetBits(job, options.target_bits);
  ConfigOf(job, progress);
  return DescribePlan(job, PlanMemory(job, backend.pool().threads()), backend);
}

}  // namespace gptq
