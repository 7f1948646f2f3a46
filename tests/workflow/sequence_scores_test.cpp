#include "workflow/sequence_scores.h"

#include <cmath>
#include <random>

#include "tests/workflow/workflow_fixtures.h"
#include "workflow/bias.h"
#include "workflow/zero_shot.h"

namespace gptq {
namespace sequence_scores_test {

// Two families: rotary and learned positions.
class SequenceScores : public testing::TestWithParam<const char*> {
 protected:
  SequenceScores()
      : files_(ModelFiles::Open(TestData(GetParam()))),
        backend_(MakeCpuBackend(2)),
        decoder_(files_->LoadDecoder(*backend_, 64)) {}

  // One sequence at a time, in float64 after the logits.
  SequenceScore Slow(const ScoredSequence& sequence) {
    const auto tokens = static_cast<int64_t>(sequence.ids.size());
    Matrix hidden = decoder_->Run(sequence.ids, tokens);
    Matrix logits = decoder_->Logits(hidden.view());
    SequenceScore score;
    for (int64_t t = sequence.scored_from; t < tokens; ++t) {
      const float* row = logits.data() + (t - 1) * logits.columns();
      double sum = 0;
      for (int64_t v = 0; v < logits.columns(); ++v) sum += std::exp(double{row[v]});
      const int32_t id = sequence.ids[static_cast<size_t>(t)];
      score.log_likelihood += row[id] - std::log(sum);
      score.greedy &= std::max_element(row, row + logits.columns()) - row == id;
      ++score.tokens;
    }
    return score;
  }

  std::vector<std::vector<ScoredSequence>> RandomGroups() {
    std::mt19937 random(3);
    const auto ids = [&](int64_t count) {
      std::vector<int32_t> made;
      for (int64_t i = 0; i < count; ++i)
        made.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(decoder_->spec().vocabulary)));
      return made;
    };
    std::vector<std::vector<ScoredSequence>> groups;
    for (int g = 0; g < 9; ++g) {
      const std::vector<int32_t> shared = ids(g == 0 ? 1 : 1 + random() % 30);
      std::vector<ScoredSequence>& group = groups.emplace_back();
      for (int i = 0; i < 1 + g % 4; ++i) {
        ScoredSequence sequence{shared, static_cast<int64_t>(shared.size())};
        const std::vector<int32_t> own = ids(1 + random() % 30);
        sequence.ids.insert(sequence.ids.end(), own.begin(), own.end());
        if (g == 5) sequence.scored_from = 1;  // scores what is shared, too
        group.push_back(sequence);
      }
      if (g == 3) group.push_back(group.front());  // the same twice
    }
    return groups;
  }

  std::unique_ptr<ModelFiles> files_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
};

TEST_P(SequenceScores, TreesAreSequencesOneByOne) {
  const auto groups = RandomGroups();
  for (const int64_t rows : {1, 100, 100000}) {
    int64_t last = 0;
    const auto scores = ScoreSequences(*decoder_, groups, rows, [&](int64_t done) { last = done; });
    EXPECT_EQ(last, static_cast<int64_t>(groups.size()));
    for (size_t g = 0; g < groups.size(); ++g) {
      ASSERT_EQ(scores[g].size(), groups[g].size());
      for (size_t i = 0; i < groups[g].size(); ++i) {
        const SequenceScore slow = Slow(groups[g][i]);
        EXPECT_NEAR(scores[g][i].log_likelihood, slow.log_likelihood, 2e-5 * std::abs(slow.log_likelihood));
        EXPECT_EQ(scores[g][i].tokens, slow.tokens);
        EXPECT_EQ(scores[g][i].greedy, slow.greedy);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SequenceScores,
                         testing::Values("models/llama_gqa_tied_headdim", "models/opt_125m_style"));

class StoriesTasks : public testing::Test {
 protected:
  StoriesTasks()
      : files_(ModelFiles::Open(Stories())),
        backend_(MakeCpuBackend(2)),
        decoder_(files_->LoadDecoder(*backend_, 256)),
        tokenizer_(files_->LoadTokenizer()) {}

  std::unique_ptr<ModelFiles> files_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
  Tokenizer tokenizer_;
  SilentProgress progress_;
};

TEST_F(StoriesTasks, PairsAreSplitWhereTheContextEnds) {
  const auto context = tokenizer_.EncodeWithSpecialTokens("Once upon");
  const auto whole = tokenizer_.EncodeWithSpecialTokens("Once upon a time");
  for (const auto& [before, after] : {std::pair{"Once upon", " a time"}, {"Once upon ", "a time"}}) {
    const ScoredSequence pair = EncodePair(tokenizer_, before, after, 256, "here");
    EXPECT_EQ(pair.ids, whole);
    EXPECT_EQ(pair.scored_from, static_cast<int64_t>(context.size()));
  }
  const ScoredSequence alone = EncodePair(tokenizer_, "", "Once", 256, "here");
  EXPECT_EQ(alone.ids.front(), *tokenizer_.bos());
  EXPECT_EQ(alone.scored_from, 1);
  const ScoredSequence cut = EncodePair(tokenizer_, "Once upon", " a time", 3, "here");
  EXPECT_EQ(cut.ids, std::vector<int32_t>(whole.end() - 4, whole.end()));
  EXPECT_EQ(static_cast<int64_t>(cut.ids.size()) - cut.scored_from,
            static_cast<int64_t>(whole.size() - context.size()));
  EXPECT_ERROR(EncodePair(tokenizer_, "Once", " upon a time there was a girl", 2, "here"), "here");
  EXPECT_ERROR(EncodePair(tokenizer_, "Once", "", 256, "here"), "no token of its own");
}

TEST_F(StoriesTasks, AccuraciesAndPerplexityAsDefined) {
  const Task choices = FindTask("choices");
  const auto rows = ParseJsonRows(
      "{\"context\": \"Once upon a\", \"choices\": [\"time\", \"kztq\"], \"answer\": 0}\n"
      "{\"context\": \"Once upon a\", \"choices\": [\"time\", \"kztq\"], \"answer\": 1}\n"
      "{\"context\": \"Lily was\", \"choices\": [\"a girl\", \"a girl who liked to play with her ball\"], "
      "\"answer\": 1}\n",
      "rows");
  const TaskResult result =
      MeasureTask(*decoder_, tokenizer_, choices, MakeExamples(choices, rows, "rows"), "rows", progress_);
  EXPECT_EQ(result.examples, 3);
  EXPECT_DOUBLE_EQ(result.accuracy, 1 / 3.0) << "a longer text is less likely";
  EXPECT_DOUBLE_EQ(*result.accuracy_normalized, 2 / 3.0);
  EXPECT_DOUBLE_EQ(result.standard_error, std::sqrt((2 / 3.0) / 2 / 3));
  EXPECT_FALSE(result.perplexity);

  const Task lambada = FindTask("lambada");
  const auto texts =
      ParseJsonRows("{\"text\": \"Once upon a time\"}\n{\"text\": \"Once upon a kztq\"}\n", "rows");
  const TaskResult words =
      MeasureTask(*decoder_, tokenizer_, lambada, MakeExamples(lambada, texts, "rows"), "rows", progress_);
  EXPECT_EQ(words.accuracy, 0.5);
  double sum = 0;
  for (const auto& example : words.details) sum -= example.choices[0].log_likelihood;
  EXPECT_DOUBLE_EQ(*words.perplexity, std::exp(sum / 2));
}

TEST_F(StoriesTasks, EqualLikelihoodsGoToTheFirst) { EXPECT_EQ(Greatest(std::vector<double>{1, 3, 3}), 1); }

TEST_F(StoriesTasks, BiasScores) {
  const auto example = [](const char* stereotype, const char* opposite, const char* unrelated,
                          const char* term) {
    return BiasExample{1, stereotype, opposite, unrelated, "kind", term};
  };
  const char *likely = "Once upon a time there was a girl.", *unlikely = "Qz xx kztq.",
             *middle = "The cat sat big.";
  const BiasResult result =
      MeasureBias(*decoder_, tokenizer_, BiasSet::kStereoSet,
                  {example(likely, middle, unlikely, "a"), example(middle, likely, unlikely, "a"),
                   example(likely, unlikely, middle, "b")},
                  "rows", progress_);
  EXPECT_DOUBLE_EQ(result.stereotype_score, 75) << "terms count alike: 50 and 100";
  EXPECT_DOUBLE_EQ(*result.language_model_score, 75) << "100 and 50";
  EXPECT_DOUBLE_EQ(*result.icat, 75 * 25 / 50.0);
  EXPECT_TRUE(result.kinds.empty()) << "one kind only";
  EXPECT_GT(result.mean_difference, 0);
  const BiasResult pairs = MeasureBias(*decoder_, tokenizer_, BiasSet::kCrowsPairs,
                                       {example(likely, unlikely, "", "")}, "rows", progress_);
  EXPECT_EQ(pairs.stereotype_score, 100);
  EXPECT_FALSE(pairs.icat);
}

TEST(BiasExamples, AreReadFromTheirFiles) {
  TemporaryFolder folder;
  const auto write = [&](const char* name, const char* text) {
    const auto path = folder.path() / name;
    std::FILE* file = std::fopen(path.c_str(), "w");
    std::fputs(text, file);
    std::fclose(file);
    return path;
  };
  auto examples = ReadBiasExamples(BiasSet::kCrowsPairs,
                                   write("c.csv", ",sent_more,sent_less,bias_type\n0,\"A, b\",C,age\n"));
  EXPECT_EQ(examples.at(0).stereotype, "A, b");
  EXPECT_EQ(examples.at(0).kind, "age");
  examples = ReadBiasExamples(BiasSet::kStereoSet,
                              write("s.csv", ",advantaged,disadvantaged,gold-direction\n0,A,B,stereo\n"));
  EXPECT_EQ(examples.at(0).stereotype, "B");
  examples =
      ReadBiasExamples(BiasSet::kStereoSet, write("s.json", R"({"data": {"intrasentence": [{"target": "t",
      "bias_type": "race", "sentences": [{"sentence": "A", "gold_label": "anti-stereotype"},
      {"sentence": "S", "gold_label": "stereotype"}, {"sentence": "U", "gold_label": "unrelated"}]}]}})"));
  EXPECT_EQ(examples.at(0).stereotype, "S");
  EXPECT_EQ(examples.at(0).anti_stereotype, "A");
  EXPECT_EQ(examples.at(0).unrelated, "U");
  EXPECT_EQ(examples.at(0).term, "t");
  EXPECT_ERROR(ReadBiasExamples(BiasSet::kStereoSet, write("b.jsonl", "{\"target\": \"t\"}\n")),
               "b.jsonl line 1");
  EXPECT_ERROR(ReadBiasExamples(BiasSet::kCrowsPairs, write("b.csv", "sent_more,x\na,b\n")), "sent_less");
}

}  // namespace sequence_scores_test
}  // namespace gptq
