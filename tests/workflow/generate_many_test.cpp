// Sequences decoded together beside each of them alone: the same to the last bit.
#include "workflow/generate_many.h"

#include <fstream>

#include "tests/workflow/workflow_fixtures.h"

namespace gptq {
namespace generate_many_test {

struct Model {
  const char* folder;
  int activation_bits;
};

class DecodingTogether : public testing::TestWithParam<Model> {};

TEST_P(DecodingTogether, GivesEachWhatItGetsAlone) {
  const auto backend = MakeCpuBackend(2);
  const auto files = ModelFiles::Open(TestData(GetParam().folder));
  const auto decoder = files->LoadEngine(*backend, 24, GetParam().activation_bits);
  const auto id = [&](size_t sequence, int64_t token) {
    return static_cast<int32_t>((7 + 131 * static_cast<int64_t>(sequence) + 17 * token) %
                                decoder->spec().vocabulary);
  };
  for (const DType type : {DType::kF16, DType::kI8}) {
    std::vector<KvCache> alone, joint;
    std::vector<KvCache*> caches;
    for (const int64_t prompt : {3, 11, 1, 6, 2, 4, 5, 7}) {
      std::vector<int32_t> ids;
      for (int64_t t = 0; t < prompt; ++t) ids.push_back(id(alone.size(), t));
      for (std::vector<KvCache>* side : {&alone, &joint}) {
        side->push_back(decoder->MakeCache(prompt + 6, type));
        decoder->Run(ids, side->back());
      }
    }
    for (KvCache& cache : joint) caches.push_back(&cache);
    BlockState state;
    for (int step = 0; step < 5; ++step) {
      std::vector<int32_t> ids;
      for (size_t s = 0; s < caches.size(); ++s) ids.push_back(id(s, caches[s]->tokens));
      Matrix together = decoder->Logits(decoder->Run(ids, caches, state));
      for (size_t s = 0; s < alone.size(); ++s) {
        const Matrix one = decoder->Logits(decoder->Run(std::span(&ids[s], 1), alone[s]));
        const MatrixView row = together.view().Rows(static_cast<int64_t>(s), 1);
        ASSERT_TRUE(std::equal(one.data(), one.data() + one.columns(), row.data)) << s << " at step " << step;
      }
      caches.erase(caches.begin() + step % 2);  // one ends, and the others go on
      alone.erase(alone.begin() + step % 2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, DecodingTogether,
                         testing::Values(Model{"models/llama", 32}, Model{"models/opt_125m_style", 32},
                                         Model{"models/bloom", 32}, Model{"models/gemma2", 32},
                                         Model{"models/mixtral", 32}, Model{"models/deepseek_v2_style", 32},
                                         Model{"models/phi3_longrope_long", 32},
                                         Model{"checkpoints/b4_g32_asym_v1", 16},
                                         Model{"checkpoints/b4_g32_asym_v1", 8},
                                         Model{"checkpoints/b3_g64_sym_v1", 16}));

class GenerateManyTest : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(2);
  std::unique_ptr<ModelFiles> files_ = ModelFiles::Open(Stories());
  Tokenizer tokenizer_ = files_->LoadTokenizer();
  std::unique_ptr<Decoder> decoder_ = files_->LoadDecoder(*backend_, 64);
};

TEST_F(GenerateManyTest, EachIsTheTextOfItsPromptAlone) {
  std::vector<Prompt> prompts;
  for (const char* text :
       {"Once upon a time", "Tom", "The dog was", "", "Lily and her mom went to the park. There", "One day",
        "It was", "She said", "A big red ball", "\"No\""})
    prompts.push_back({text, "test"});
  GenerateManyOptions options;
  options.each.tokens = 20;
  options.each.sampling.seed = 5;
  options.each.stop = {"."};
  for (const double temperature : {0.0, 0.8}) {
    options.each.sampling.temperature = temperature;
    std::vector<GenerateResult> alone;
    for (const Prompt& prompt : prompts)
      alone.push_back(Generate(*decoder_, tokenizer_, prompt.text, options.each, nullptr));
    for (const int64_t together : {1, 3, 8}) {
      options.together = together;
      const GenerateManyResult result = GenerateMany(*decoder_, tokenizer_, prompts, options, [] {});
      ASSERT_EQ(result.texts.size(), prompts.size());
      for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(result.texts[i].ids, alone[i].ids) << prompts[i].text;
        EXPECT_EQ(result.texts[i].text, alone[i].text);
        EXPECT_EQ(result.texts[i].prompt_tokens, alone[i].prompt_tokens);
      }
    }
  }
}

TEST_F(GenerateManyTest, APromptThatDoesNotFitIsNamed) {
  std::string text;
  for (int i = 0; i < 64; ++i) text += " time";
  const std::vector<Prompt> prompts = {{"Tom", "first"}, {text, "second"}};
  EXPECT_ERROR(GenerateMany(*decoder_, tokenizer_, prompts, {}, [] {}), "second");
}

TEST_F(GenerateManyTest, ReadsPromptsOfFiles) {
  const TemporaryFolder folder;
  const auto read = [&](const char* name, const std::string& text) {
    const auto path = folder.path() / name;
    std::ofstream(path) << text;
    std::vector<std::string> texts;
    for (const Prompt& prompt : ReadPrompts(path)) texts.push_back(prompt.text);
    return texts;
  };
  EXPECT_EQ(read("a.txt", "one\n\n two \r\nthree"), (std::vector<std::string>{"one", " two ", "three"}));
  EXPECT_EQ(read("a.jsonl", "{\"prompt\": \"one\\ntwo\"}\n\n{\"prompt\": \"\", \"more\": 1}\n"),
            (std::vector<std::string>{"one\ntwo", ""}));
  EXPECT_ERROR(read("b.txt", "\n\n"), "no prompt");
  EXPECT_ERROR(read("b.jsonl", "{\"prompt\": \"\"}\n{\"prompt\": 3}\n"), "b.jsonl, line 2");
  EXPECT_ERROR(read("b.jsonl", "{\"text\": \"one\"}\n"), "'prompt'");
}

}  // namespace generate_many_test
}  // namespace gptq
