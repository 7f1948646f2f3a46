#include "workflow/calibration.h"

#include <algorithm>
#include <fstream>

#include "io/safetensors_writer.h"
#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace calibration_test {

class Calibration : public testing::Test {
 protected:
  CalibrationSet Load(const CalibrationOptions& options) {
    SilentProgress progress;
    const Tokenizer tokenizer = LoadTokenizer(Stories());
    return LoadCalibration(options, &tokenizer, 512, progress);
  }
  std::filesystem::path Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_.path() / name) << content;
    return folder_.path() / name;
  }
  TemporaryFolder folder_;
};

TEST_F(Calibration, SameSeedSameSamples) {
  CalibrationOptions options;
  options.file = std::filesystem::path(GPTQ_SOURCE_DIR) / "data/tinystories/calibration.jsonl";
  options.samples = 20;
  options.sequence_length = 100;
  const CalibrationSet first = Load(options);
  EXPECT_EQ(first.samples, 20);
  EXPECT_EQ(first.tokens(), 2000);
  EXPECT_EQ(first.ids, Load(options).ids);
  options.seed = 1;
  EXPECT_NE(first.ids, Load(options).ids);
}

TEST_F(Calibration, ShortDocumentsAreJoined) {
  CalibrationOptions options;
  options.file = std::filesystem::path(GPTQ_SOURCE_DIR) / "data/tinystories/calibration.jsonl";
  options.samples = 8;
  options.sequence_length = 4000;  // longer than any story
  EXPECT_EQ(Load(options).samples, 8);
}

TEST_F(Calibration, BuiltInSetServesEveryTokenizer) {
  CalibrationOptions options;
  options.samples = 16;
  options.sequence_length = 512;
  EXPECT_EQ(Load(options).samples, 16);
}

TEST_F(Calibration, MasksARandomShareOfEachSample) {
  CalibrationSet set;
  set.samples = 200;
  set.tokens_per_sample = 100;
  set.ids.assign(20000, 5);
  CalibrationSet same = set;
  MaskTokens(7, 3, set);
  MaskTokens(7, 3, same);
  EXPECT_EQ(set.ids, same.ids);
  std::vector<int64_t> shares(11);
  for (int64_t sample = 0; sample < set.samples; ++sample) {
    const auto begin = set.ids.begin() + sample * 100;
    const int64_t masked = std::count(begin, begin + 100, 7);
    EXPECT_EQ(masked + std::count(begin, begin + 100, 5), 100);
    ++shares[static_cast<size_t>(masked / 10)];
  }
  for (size_t tenth = 0; tenth < 10; ++tenth) EXPECT_NEAR(static_cast<double>(shares[tenth]), 20, 16) << tenth;  // uniform
  const std::vector<int32_t> masked = set.ids;
  MaskTokens(7, 4, set);
  EXPECT_EQ(set.ids, masked) << "has mask tokens already";
}

TEST_F(Calibration, MessagesGoThroughTheChatTemplate) {
  const std::filesystem::path model = folder_.path() / "model";
  std::filesystem::create_directory(model);
  for (const auto& entry : std::filesystem::directory_iterator(Stories())) {
    if (entry.path().filename().string().starts_with("tokenizer")) std::filesystem::copy(entry.path(), model);
  }
  std::ofstream(model / "chat_template.jinja")
      << "{% for m in messages %}{{ bos_token if loop.first }}{{ m.role }}: {{ m.content }}\n{% endfor %}";
  CalibrationOptions options;
  const std::string line =
      R"({"messages": [{"role": "user", "content": "Who is Tom?"}, {"role": "cat", "content": "A dog."}]})";
  options.file = Write("chat.jsonl", line + "\n" + line + "\n");
  options.samples = 1;
  options.sequence_length = 20;
  const Tokenizer tokenizer = LoadTokenizer(model);
  SilentProgress progress;
  const CalibrationSet set = LoadCalibration(options, &tokenizer, 512, progress);
  const std::vector<int32_t> expected = tokenizer.EncodeWithSpecialTokens("user: Who is Tom?\ncat: A dog.\n");
  ASSERT_GE(expected.size(), 20u);
  EXPECT_TRUE(std::ranges::search(expected, set.ids).begin() != expected.end());
  EXPECT_ERROR(Load(options), "the model has no chat template, " + options.file.string() + ", line 1");
}

TEST_F(Calibration, TextIsCutIntoWindows) {
  CalibrationOptions options;
  options.file = Write("a.txt", std::string(2000, 'a'));
  options.samples = 4;
  options.sequence_length = 64;
  EXPECT_GT(Load(options).samples, 0);
}

TEST_F(Calibration, TokensAreUsedAsTheyAre) {
  Tensor ids(DType::kI32, {2, 3});
  for (int i = 0; i < 6; ++i) ids.As<int32_t>()[static_cast<size_t>(i)] = i + 5;
  WriteSafetensors(folder_.path() / "a.safetensors", {{"input_ids", ids.view()}});
  CalibrationOptions options;
  options.file = folder_.path() / "a.safetensors";
  const CalibrationSet set = Load(options);
  EXPECT_EQ(set.samples, 2);
  EXPECT_EQ(set.ids, (std::vector<int32_t>{5, 6, 7, 8, 9, 10}));
  ids.As<int32_t>()[4] = 512;
  WriteSafetensors(folder_.path() / "b.safetensors", {{"input_ids", ids.view()}});
  options.file = folder_.path() / "b.safetensors";
  EXPECT_ERROR(Load(options), "512");
}

TEST_F(Calibration, BadFilesAreNamed) {
  CalibrationOptions options;
  options.sequence_length = 64;
  options.file = Write("empty.txt", "");
  EXPECT_ERROR(Load(options), "empty.txt");
  options.file = Write("short.jsonl", "{\"text\": \"a\"}\n");
  EXPECT_ERROR(Load(options), "short.jsonl");
  options.file = Write("bad.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n");
  EXPECT_ERROR(Load(options), "line 2");
  options.file = Write("bad2.jsonl", "{\"text\": \"a\"}\n\nnonsense\n");
  EXPECT_ERROR(Load(options), "line 3");
  options.file = Write("a.csv", "x");
  EXPECT_ERROR(Load(options), ".csv");
  options.file = folder_.path() / "missing.txt";
  EXPECT_ERROR(Load(options), "missing.txt");
}

}  // namespace calibration_test
}  // namespace gptq
