#include "workflow/compare.h"

#include <cmath>
#include <numeric>
#include <random>

#include "io/writable_file.h"
#include "tests/workflow/workflow_fixtures.h"
#include "workflow/perplexity.h"

namespace gptq {
namespace compare_test {

namespace fs = std::filesystem;

class Compare : public testing::Test {
 protected:
  Compare() {
    text_ = ReadTextFile(TestData("text/wikitext2-test.txt")).substr(0, 3000);
    options_.sequence_length = 300;  // more than the rows of logits held at once
    options_.windows = 3;
    quantized_ = Copy(TestData("checkpoints/b3_g32_asym_v2_desc_act"), "quantized");
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy_file(base_ / name, quantized_ / name);
  }

  fs::path Copy(const fs::path& from, const std::string& name) {
    fs::copy(from, folder_.path() / name);
    return folder_.path() / name;
  }

  CompareResult Run(const fs::path& a, const fs::path& b, int threads = 2) {
    const auto files_a = ModelFiles::Open(a), files_b = ModelFiles::Open(b);
    const auto backend = MakeCpuBackend(threads);
    return CompareModels(*files_a, *files_b, *backend, text_, "text.txt", options_, progress_);
  }

  TemporaryFolder folder_;
  const fs::path base_ = TestData("checkpoints/base");
  fs::path quantized_;
  std::string text_;
  CompareOptions options_;
  SilentProgress progress_;
};

void ReplaceIn(const fs::path& path, const std::string& from, const std::string& to) {
  std::string content = ReadTextFile(path);
  ASSERT_NE(content.find(from), std::string::npos) << from;
  WriteFile(path, content.replace(content.find(from), from.size(), to));
}

// Logarithms of the probabilities [tokens, vocabulary] of one window, in float64, and the logits' largest.
struct SlowRows {
  std::vector<std::vector<double>> log_p;
  std::vector<std::vector<int64_t>> top;  // columns, the largest logit first
};

SlowRows SlowWindow(const fs::path& model, std::span<const int32_t> ids) {
  const auto files = ModelFiles::Open(model);
  const auto backend = MakeCpuBackend(1);
  const TensorView view{DType::kI32, {1, static_cast<int64_t>(ids.size())}, std::as_bytes(ids).data()};
  const Tensor logits = ComputeLogits(*files, *backend, view, "ids").logits;
  const int64_t vocabulary = logits.shape()[2];
  SlowRows rows;
  for (size_t t = 0; t < ids.size(); ++t) {
    const float* row = logits.As<float>().data() + static_cast<int64_t>(t) * vocabulary;
    double sum = 0;
    for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(double{row[v]});
    std::vector<double> log_p;
    for (int64_t v = 0; v < vocabulary; ++v) log_p.push_back(double{row[v]} - std::log(sum));
    std::vector<int64_t>& top = rows.top.emplace_back(log_p.size());
    std::iota(top.begin(), top.end(), int64_t{0});
    std::stable_sort(top.begin(), top.end(), [&](int64_t x, int64_t y) { return row[x] > row[y]; });
    rows.log_p.push_back(std::move(log_p));
  }
  return rows;
}

double StandardErrorOf(const std::vector<double>& values, double mean) {
  double squares = 0;
  for (const double value : values) squares += std::pow(value - mean, 2);
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1) / n);
}

TEST_F(Compare, IsWhatTheDefinitionsSay) {
  const CompareResult result = Run(base_, quantized_);
  const std::vector<int32_t> ids = OpenTokenizer(base_).EncodeWithSpecialTokens(text_);
  std::vector<double> divergences, differences;
  double loss_a = 0, loss_b = 0, same = 0, shared = 0, divergence_sum = 0;
  for (size_t w = 0; w < 3; ++w) {
    const auto window = std::span(ids).subspan(w * 300, 300);
    const SlowRows a = SlowWindow(base_, window), b = SlowWindow(quantized_, window);
    for (size_t t = 0; t < 299; ++t) {
      double divergence = 0;
      for (size_t v = 0; v < a.log_p[t].size(); ++v)
        divergence += std::exp(a.log_p[t][v]) * (a.log_p[t][v] - b.log_p[t][v]);
      divergences.push_back(divergence);
      divergence_sum += divergence;
      const auto next = static_cast<size_t>(window[t + 1]);
      loss_a -= a.log_p[t][next];
      loss_b -= b.log_p[t][next];
      differences.push_back(a.log_p[t][next] - b.log_p[t][next]);
      same += a.top[t][0] == b.top[t][0];
      for (size_t i = 0; i < 5; ++i)
        shared += std::count(b.top[t].begin(), b.top[t].begin() + 5, a.top[t][i]) > 0;
    }
  }
  const double n = 3 * 299, mean = divergence_sum / n, difference = (loss_b - loss_a) / n;
  EXPECT_GT(mean, 1e-3) << "a 3-bit model differs";
  EXPECT_NEAR(result.kl_mean, mean, 2e-5 * mean);
  EXPECT_NEAR(result.kl_standard_error, StandardErrorOf(divergences, mean), 2e-5 * mean);
  EXPECT_NEAR(result.perplexity_a, std::exp(loss_a / n), 1e-5 * result.perplexity_a);
  EXPECT_NEAR(result.perplexity_b, std::exp(loss_b / n), 1e-5 * result.perplexity_b);
  EXPECT_NEAR(result.perplexity_ratio, std::exp(difference), 1e-6);
  EXPECT_NEAR(result.perplexity_ratio_standard_error,
              std::exp(difference) * StandardErrorOf(differences, difference), 1e-6);
  EXPECT_EQ(result.top1_agreement, same / n);
  EXPECT_NEAR(result.top5_agreement, shared / n / 5, 1e-12);
  EXPECT_LT(result.top1_agreement, 1);
  const auto greatest = std::max_element(divergences.begin(), divergences.end());
  ASSERT_EQ(result.worst_tokens.size(), 10u);
  const WorstToken& worst = result.worst_tokens[0];
  EXPECT_NEAR(worst.difference.divergence, *greatest, 1e-4 * *greatest);
  EXPECT_EQ(worst.window * 299 + worst.position - 1, greatest - divergences.begin());
  std::sort(divergences.begin(), divergences.end());
  EXPECT_NEAR(result.kl_median, divergences[448], 2e-5 * mean);  // the 449th of 897
  EXPECT_NEAR(result.kl_p99, divergences[888], 2e-5 * mean);     // the 889th: 0.99 * 897 = 888.03
  EXPECT_NEAR(result.kl_p999, divergences[896], 2e-5 * mean);    // the last: 0.999 * 897 = 896.1
  EXPECT_EQ(result.tokens, 897);
  EXPECT_EQ(result.windows, 3);
  EXPECT_EQ(result.sequence_length, 300);
}

TEST_F(Compare, WorstTokensAreShownInContext) {
  const CompareResult result = Run(base_, quantized_);
  const Tokenizer tokenizer = OpenTokenizer(base_);
  const std::vector<int32_t> ids = tokenizer.EncodeWithSpecialTokens(text_);
  for (size_t i = 0; i < result.worst_tokens.size(); ++i) {
    const WorstToken& worst = result.worst_tokens[i];
    const int64_t place = worst.window * 300 + worst.position;
    EXPECT_EQ(worst.token, tokenizer.Decode(std::span(&ids[static_cast<size_t>(place)], 1)));
    EXPECT_FALSE(worst.context.empty());
    EXPECT_FALSE(worst.top_a.empty());
    EXPECT_GE(worst.difference.probability_a, std::exp(-worst.difference.loss_a) * (1 - 1e-6));
    EXPECT_GE(worst.difference.probability_b, std::exp(-worst.difference.loss_b) * (1 - 1e-6));
    EXPECT_LE(worst.difference.probability_a, 1 + 1e-6);
    const size_t before = i > 0 ? i - 1 : 0;
    EXPECT_LE(worst.difference.divergence, result.worst_tokens[before].difference.divergence);
  }
  options_.worst_tokens = 0;
  EXPECT_TRUE(Run(base_, quantized_).worst_tokens.empty());
}

TEST(CompareTokens, TopColumnsAreThoseOfASort) {
  std::mt19937 random(7);
  for (const size_t width : {size_t{1}, size_t{3}, size_t{5}, size_t{6}, size_t{1000}}) {
    std::vector<float> row(width);
    for (float& value : row) value = static_cast<float>(random() % 50);  // many are equal
    std::vector<int32_t> order(width);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) {
      return row[static_cast<size_t>(x)] > row[static_cast<size_t>(y)];
    });
    order.resize(5, -1);
    const auto top = TopColumns(row);
    EXPECT_EQ(std::vector<int32_t>(top.begin(), top.end()), order) << width;
  }
}

// |h_B - h_A| / |h_A| of each block and token, from whole runs.
TEST_F(Compare, BlockErrorsAreWhatTheDefinitionSays) {
  options_.windows = 2;
  const CompareResult result = Run(base_, quantized_);
  const std::vector<int32_t> ids = OpenTokenizer(base_).EncodeWithSpecialTokens(text_);
  const TensorView view{DType::kI32, {2, 300}, std::as_bytes(std::span(ids)).data()};
  const auto states = [&](const fs::path& model) {
    const auto files = ModelFiles::Open(model);
    const auto backend = MakeCpuBackend(1);
    return ComputeLogits(*files, *backend, view, "ids", /*hidden_states=*/true).hidden_states;
  };
  const std::vector<Tensor> all_a = states(base_), all_b = states(quantized_);
  ASSERT_EQ(result.block_errors.size(), all_a.size());
  for (size_t block = 0; block < all_a.size(); ++block) {
    const std::span<const float> a = all_a[block].As<float>(), b = all_b[block].As<float>();
    const auto width = a.size() / 600;
    double sum = 0;
    for (size_t t = 0; t < 600; ++t) {
      double difference = 0, norm = 0;
      for (size_t at = t * width; at < (t + 1) * width; ++at) {
        difference += std::pow(double{b[at]} - a[at], 2);
        norm += std::pow(double{a[at]}, 2);
      }
      sum += std::sqrt(difference / norm);
    }
    EXPECT_NEAR(result.block_errors[block], sum / 600, 1e-4 * sum / 600) << block;
  }
}

TEST_F(Compare, AModelIsLikeItself) {
  for (const fs::path& model : {base_, quantized_}) {
    const CompareResult result = Run(model, model);
    EXPECT_EQ(result.kl_mean, 0);
    EXPECT_EQ(result.kl_p999, 0);
    EXPECT_EQ(result.top1_agreement, 1);
    EXPECT_EQ(result.top5_agreement, 1);
    EXPECT_FALSE(result.block_errors.empty());
    EXPECT_THAT(result.block_errors, testing::Each(0));
    EXPECT_EQ(result.perplexity_ratio, 1);
    EXPECT_EQ(result.perplexity_ratio_standard_error, 0);
    EXPECT_EQ(result.perplexity_a, result.perplexity_b);
  }
}

TEST_F(Compare, PerplexitiesAreThoseOfTheOtherCommand) {
  const CompareResult result = Run(base_, quantized_);
  const auto files = ModelFiles::Open(quantized_);
  const auto backend = MakeCpuBackend(2);
  const auto decoder = files->LoadDecoder(*backend, 300);
  PerplexityOptions options;
  options.windows = 3;
  const PerplexityResult alone =
      MeasurePerplexity(*decoder, files->LoadTokenizer(), text_, "text.txt", options, progress_);
  EXPECT_NEAR(result.perplexity_b, alone.perplexity, 1e-9 * alone.perplexity);
  EXPECT_NEAR(result.perplexity_b_standard_error, alone.perplexity_standard_error,
              1e-9 * alone.perplexity_standard_error);
}

bool Same(const CompareResult& x, const CompareResult& y) {
  return x.kl_mean == y.kl_mean && x.kl_standard_error == y.kl_standard_error && x.kl_median == y.kl_median &&
         x.kl_p99 == y.kl_p99 && x.kl_p999 == y.kl_p999 && x.top5_agreement == y.top5_agreement &&
         x.top1_agreement == y.top1_agreement && x.perplexity_a == y.perplexity_a &&
         x.perplexity_b == y.perplexity_b && x.tokens == y.tokens;
}

TEST_F(Compare, ThreadsChangeNothing) {
  const CompareResult one = Run(base_, quantized_, 1), three = Run(base_, quantized_, 3);
  EXPECT_TRUE(Same(one, three));
  EXPECT_EQ(one.block_errors, three.block_errors);
}

TEST_F(Compare, CachedReferenceChangesNothing) {
  const CompareResult direct = Run(base_, quantized_);
  options_.reference_cache = folder_.path() / "reference.safetensors";
  for (const bool cached : {false, true, true}) {
    const CompareResult result = Run(base_, quantized_);
    EXPECT_EQ(result.reference_from_cache, cached);
    EXPECT_EQ(result.block_errors.empty(), cached);
    EXPECT_TRUE(Same(result, direct));
  }
  EXPECT_TRUE(Run(base_, base_).reference_from_cache) << "B does not matter";
  EXPECT_EQ(Run(base_, base_).kl_mean, 0);
}

TEST_F(Compare, CacheOfSomethingElseIsWrittenAnew) {
  const fs::path model = Copy(base_, "model");
  options_.reference_cache = folder_.path() / "reference.safetensors";
  const auto expect_anew = [&](const char* what) {
    EXPECT_FALSE(Run(model, quantized_).reference_from_cache) << what;
    EXPECT_TRUE(Run(model, quantized_).reference_from_cache) << what;
  };
  expect_anew("no cache yet");
  options_.windows = 2;
  expect_anew("fewer windows");
  options_.sequence_length = 200;
  expect_anew("shorter windows");
  text_[10] = text_[10] == 'x' ? 'y' : 'x';
  expect_anew("another text");
  fs::last_write_time(model / "model.safetensors", fs::file_time_type::clock::now() + std::chrono::hours(1));
  expect_anew("another file of the same size");
  ReplaceIn(model / "config.json", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 1e-05");
  expect_anew("another config");
  EXPECT_FALSE(Run(base_, quantized_).reference_from_cache) << "another folder";
  EXPECT_FALSE(fs::exists(options_.reference_cache.string() + ".partial"));
}

TEST_F(Compare, NothingButACacheIsReplaced) {
  const fs::path weights = Copy(base_, "model") / "model.safetensors";
  const auto bytes = fs::file_size(weights);
  options_.reference_cache = weights;
  EXPECT_ERROR(Run(base_, quantized_), "not a file that --reference-cache wrote");
  EXPECT_EQ(fs::file_size(weights), bytes);
  options_.reference_cache = folder_.path() / "notes.txt";
  WriteFile(options_.reference_cache, "my notes");
  EXPECT_ERROR(Run(base_, quantized_), "notes.txt");
  EXPECT_EQ(ReadTextFile(options_.reference_cache), "my notes");
  options_.reference_cache = folder_.path() / "missing" / "reference";
  EXPECT_ERROR(Run(base_, quantized_), "does not exist");
}

TEST_F(Compare, DamagedCacheIsAnError) {
  options_.reference_cache = folder_.path() / "reference.safetensors";
  Run(base_, quantized_);
  fs::resize_file(options_.reference_cache, fs::file_size(options_.reference_cache) - 4);
  EXPECT_ERROR(Run(base_, quantized_), "reference.safetensors");
}

TEST_F(Compare, WindowsFitBothModels) {
  ReplaceIn(quantized_ / "config.json", "\"max_position_embeddings\": 512",
            "\"max_position_embeddings\": 77");
  EXPECT_EQ(Run(base_, quantized_).sequence_length, 77);
  EXPECT_EQ(Run(quantized_, base_).sequence_length, 77);
}

TEST_F(Compare, ModelsMustShareTheirTokens) {
  EXPECT_ERROR(Run(base_, Stories()), "vocabularies of different sizes, 320 and 512");
  ReplaceIn(quantized_ / "tokenizer.json", "\"merges\": [", "\"merges\": [], \"ignored\": [");
  EXPECT_ERROR(Run(base_, quantized_), "the two tokenizers differ from token");
}

TEST_F(Compare, TextShorterThanAWindowIsAnError) {
  text_ = "Once";
  EXPECT_ERROR(Run(base_, quantized_), "text.txt");
}

}  // namespace compare_test
}  // namespace gptq
