// What keeps long runs alive, apart from the runs themselves (tests/cli/resume_test.py): journal, settings,
// memory plan, estimate.
#include <fstream>

#include "tests/workflow/workflow_fixtures.h"
#include "workflow/quantize_estimate.h"
#include "workflow/quantize_journal.h"
#include "workflow/quantize_memory.h"
#include "workflow/quantize_settings.h"

namespace gptq {
namespace quantize_run_test {

namespace fs = std::filesystem;

QuantizeOptions Options() {
  QuantizeOptions options;
  options.model = Stories();
  options.output = "out";
  options.solver.group_size = 64;
  options.calibration.file = fs::path(GPTQ_SOURCE_DIR) / "data/tinystories/calibration.jsonl";
  options.calibration.samples = 8;
  options.calibration.sequence_length = 128;
  return options;
}

QuantizeJob Prepare(const QuantizeOptions& options) {
  SilentProgress progress;
  static const std::unique_ptr<Backend> backend = MakeCpuBackend(2);
  return PrepareJob(options, {}, *backend, progress);
}

TEST(Journal, IsReadAsItWasWritten) {
  TemporaryFolder folder;
  EXPECT_FALSE(ReadJournal(folder.path()));
  QuantizeJournal journal;
  journal.settings = {{"--bits", 4}, {"the model", uint64_t{0xfedcba9876543210}}};
  journal.arithmetic = "cpu";
  journal.choices = {{"a", {3, 32, {}}}, {"b", {8, -1, DType::kQ4_K}}};
  journal.blocks_done = 3;
  journal.work.layers = {{"a", 2, 3, 4, -1, "Q4_K", 0.1, std::nullopt, 1e-300, 5, 77, 6, 7, "damping"}};
  journal.work.stage_seconds = {{"solve", 1.5}};
  journal.work.stage_memory = {{"solve", 123456789012}};
  journal.work.forward_flops = 1e18;
  journal.boundary = {{"side", 1}, {"hashes", {1, nullptr}}};
  WriteJournal(folder.path(), journal);
  journal.blocks_done = 4;
  WriteJournal(folder.path(), journal);
  const std::optional<QuantizeJournal> read = ReadJournal(folder.path());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->settings, journal.settings);
  EXPECT_EQ(read->arithmetic, "cpu");
  EXPECT_EQ(read->blocks_done, 4);
  EXPECT_EQ(read->boundary, journal.boundary);
  EXPECT_EQ(read->choices.size(), 2u);
  EXPECT_EQ(read->choices.at("a").bits, 3);
  EXPECT_EQ(read->choices.at("b").group_size, -1);
  EXPECT_EQ(read->choices.at("a").type, std::nullopt);
  EXPECT_EQ(read->choices.at("b").type, DType::kQ4_K);
  EXPECT_EQ(ToJson(read->work), ToJson(journal.work));
  EXPECT_EQ(read->work.layers[0].loss, 0.1);
  EXPECT_FALSE(read->work.layers[0].relative_error);
  EXPECT_EQ(read->work.layers[0].tokens, 77);
  EXPECT_EQ(read->work.layers[0].fallback, "damping");
}

TEST(Journal, RefusesWhatItDidNotWrite) {
  TemporaryFolder folder;
  WriteJournal(folder.path(), {Json::object(), "", {}, 1, {}, Json::object()});
  const std::string text = ReadTextFile(JournalPath(folder.path()));
  for (size_t length = 0; length < text.size(); length += 7) {
    std::ofstream(JournalPath(folder.path()), std::ios::binary) << text.substr(0, length);
    EXPECT_ERROR(ReadJournal(folder.path()), "--restart");
  }
  for (const char* other :
       {"[]", "3", "{}", "{\"journal\":1}", "{\"journal\":1,\"settings\":{},\"work\":[]}"}) {
    std::ofstream(JournalPath(folder.path()), std::ios::binary) << other;
    EXPECT_ERROR(ReadJournal(folder.path()), "damaged");
  }
  std::ofstream(JournalPath(folder.path()), std::ios::binary) << "{\"journal\":2}";
  EXPECT_ERROR(ReadJournal(folder.path()), "another version");
}

TEST(Settings, NameWhatDiffers) {
  const Json before = {{"--bits", 4}, {"--order", "group"}, {"the calibration", 1}, {"gone", 1}};
  EXPECT_TRUE(DescribeDifferences(before, before).empty());
  const Json now = {{"--bits", 3}, {"--order", "natural"}, {"the calibration", 2}, {"--fresh", 1}};
  EXPECT_THAT(DescribeDifferences(before, now),
              testing::UnorderedElementsAre("--bits was 4 and is 3", "--order was group and is natural",
                                            "the calibration differs", "--fresh is new", "gone is gone"));
}

TEST(Settings, DependOnWhatDecidesTheResultAndOnNothingElse) {
  const Json base = DecidingSettings(Prepare(Options()));
  const auto differences = [&](const std::function<void(QuantizeOptions&)>& change) {
    QuantizeOptions options = Options();
    change(options);
    return DescribeDifferences(base, DecidingSettings(Prepare(options))).size();
  };
  EXPECT_EQ(differences([](QuantizeOptions&) {}), 0u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.output = "other"; }), 0u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.memory_bytes = 1 << 30; }), 0u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.solver.bits = 3; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.solver.minimum_zero = 1; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.calibration.seed = 1; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.calibration.samples = 7; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.calibration.sink_sequences = 3; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.skip = {"q_proj"}; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.bits_for = {{"q_proj", 8}}; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.token_weighting = TokenWeighting::kAttention; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.asymmetric_calibration = 1; }), 1u);
  EXPECT_EQ(differences([](QuantizeOptions& o) { o.residual_correction = 1; }), 1u);
  TemporaryFolder folder;
  fs::copy(Stories(), folder.path() / "copy");
  EXPECT_EQ(differences([&](QuantizeOptions& o) { o.model = folder.path() / "copy"; }), 0u);
  std::ofstream(folder.path() / "copy/README.md", std::ios::app) << "!";  // is not copied
  EXPECT_EQ(differences([&](QuantizeOptions& o) { o.model = folder.path() / "copy"; }), 0u);
  std::ofstream(folder.path() / "copy/generation_config.json") << "{}";
  EXPECT_EQ(differences([&](QuantizeOptions& o) { o.model = folder.path() / "copy"; }), 1u);
}

// Any byte of any tensor counts; the number of threads does not.
TEST(Contents, AreTold) {
  TemporaryFolder folder;
  fs::copy(Stories(), folder.path() / "copy");
  const fs::path weights = folder.path() / "copy/model.safetensors";
  const auto hash = [&](int threads) {
    ThreadPool pool(threads);
    return ModelFiles::Open(folder.path() / "copy")->source().CheckContents(pool);
  };
  const uint64_t before = hash(1);
  EXPECT_EQ(hash(3), before);
  const auto size = static_cast<int64_t>(fs::file_size(weights));
  for (const int64_t offset : {size - 4, size / 2 / 4 * 4, size / 3 / 4 * 4}) {
    char byte = 0;
    std::fstream stream(weights, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(offset).read(&byte, 1);
    stream.seekp(offset).put(static_cast<char>(byte ^ 1)).flush();
    EXPECT_NE(hash(2), before) << offset;
    stream.seekp(offset).put(byte).flush();
  }
  EXPECT_EQ(hash(2), before);
}

TEST(MemoryPlan, SpillsWhatTheBudgetDoesNotHold) {
  QuantizeOptions options = Options();
  options.calibration.samples = 24;
  QuantizeJob job = Prepare(options);
  job.options.memory_bytes = int64_t{1} << 40;
  const ProcessMemory now = ReadProcessMemory();  // it grows between two plans
  const MemoryPlan all = PlanMemory(job, 2, now);
  EXPECT_EQ(all.spilled, 0);
  EXPECT_EQ(all.resident_batches, 25u);
  EXPECT_EQ(all.activations, (24 * 128 + 512) * (64 + 172) * 4);
  EXPECT_GT(all.least, 0);
  int64_t spilled = all.activations;
  for (int64_t extra = 0; extra <= 2 * all.activations; extra += all.activations / 4) {
    job.options.memory_bytes = all.least + extra;
    const MemoryPlan plan = PlanMemory(job, 2, now);
    EXPECT_LE(plan.peak, job.options.memory_bytes);
    EXPECT_LE(plan.spilled, spilled);
    spilled = plan.spilled;
  }
  EXPECT_EQ(spilled, 0);
  job.options.memory_bytes = all.least / 2;
  EXPECT_THROW(PlanMemory(job, 2, now), UsageError);
  job.options.memory_bytes = 0;
  EXPECT_EQ(PlanMemory(job, 2).spilled, 0);  // any machine has more than this
}

TEST(MemoryPlan, CountsWhatOptionsAdd) {
  const auto least = [](const std::function<void(QuantizeOptions&)>& change) {
    QuantizeOptions options = Options();
    options.memory_bytes = int64_t{1} << 40;
    options.calibration.sink_sequences = 0;
    change(options);
    return PlanMemory(Prepare(options), 2).least;
  };
  const int64_t base = least([](QuantizeOptions&) {});
  EXPECT_GT(least([](QuantizeOptions& o) { o.calibration.sequence_length = 512; }), base + 512 * 64 * 4);
  EXPECT_GT(least([](QuantizeOptions& o) { o.asymmetric_calibration = 1; }), base + 128 * (64 + 172) * 4);
}

TEST(Estimate, KnowsAllStages) {
  const std::unique_ptr<Backend> backend = MakeCpuBackend(2);
  const QuantizeJob job = Prepare(Options());
  std::map<std::string, double> seconds = EstimateSeconds(job, *backend);
  for (const char* stage : {"forward", "hessian", "factor", "solve", "write"}) {
    EXPECT_GT(seconds[stage], 0) << stage;
    EXPECT_LT(seconds[stage], 100) << stage;
  }
  QuantizeOptions rounding = Options();
  rounding.method = Method::kRoundToNearest;
  seconds = EstimateSeconds(Prepare(rounding), *backend);
  EXPECT_GT(seconds["solve"], 0);
  EXPECT_EQ(seconds["hessian"], 0);
}

}  // namespace quantize_run_test
}  // namespace gptq
