// The public functions give what the layers give, under public types and errors.
#include <gptq/gptq.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "quant/recipe.h"
#include "quant/solve_matrix.h"
#include "tests/test_util.h"
#include "workflow/resolve_options.h"

namespace gptq {
namespace gptq_test {

namespace fs = std::filesystem;

constexpr int64_t kRows = 20, kColumns = 96, kTokens = 200;

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

const std::vector<float> kWeight = Random(kRows * kColumns, 1), kInputs = Random(kTokens * kColumns, 2);
const FloatMatrix kWeightMatrix{kWeight.data(), kRows, kColumns},
    kInputMatrix{kInputs.data(), kTokens, kColumns};

std::vector<float> HessianOfAll() {
  LayerInputs inputs(kColumns);
  inputs.Add(kInputMatrix);
  return inputs.Hessian();
}

FloatMatrix Square(const std::vector<float>& hessian) { return {hessian.data(), kColumns, kColumns}; }

TEST(Library, HessianIsTheMeanOfOuterProducts) {
  LayerInputs inputs(kColumns, 2);
  inputs.Add({kInputs.data(), 70, kColumns});
  inputs.Add({kInputs.data() + 70 * kColumns, kTokens - 70, kColumns});
  EXPECT_EQ(inputs.tokens(), kTokens);
  const std::vector<float> hessian = inputs.Hessian();
  for (int64_t i = 0; i < kColumns; ++i) {
    for (int64_t j = 0; j < kColumns; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < kTokens; ++t)
        sum += double{kInputs[t * kColumns + i]} * double{kInputs[t * kColumns + j]};
      ASSERT_NEAR(hessian[i * kColumns + j], 2 * sum / kTokens, 1e-5);
    }
  }
  EXPECT_EQ(hessian, HessianOfAll());
  EXPECT_EQ(inputs.tokens(), 0) << "it begins anew";
  inputs.Add(kInputMatrix);
  EXPECT_EQ(inputs.Hessian(), hessian);
}

TEST(Library, AMatrixIsWhatTheLayersGive) {
  const std::vector<float> hessian = HessianOfAll();
  QualityOptions options;
  options.bits = 3;
  options.group_size = 32;
  options.symmetric = false;
  options.order = "activation";
  for (const char* method : {"gptq", "rtn"}) {
    options.method = method;
    const QuantizedMatrix matrix = QuantizeMatrix(kWeightMatrix, Square(hessian), options, 2);
    ThreadPool pool(1);
    const MatrixSolution expected =
        SolveMatrix(ConstMatrix(kWeight.data(), kRows, kColumns), {hessian.data(), kColumns},
                    ParseMethod(method), ResolveSolverOptions(options, DType::kF32), "w", pool);
    EXPECT_EQ(matrix.rows, kRows);
    EXPECT_EQ(matrix.columns, kColumns);
    EXPECT_EQ(matrix.groups, 3);
    EXPECT_EQ(matrix.codes, expected.result.codes);
    EXPECT_EQ(matrix.scales, expected.result.scales);
    EXPECT_EQ(matrix.zeros, expected.result.zeros);
    EXPECT_EQ(matrix.group_index, expected.result.group_index);
    EXPECT_EQ(matrix.dequantized, expected.result.dequantized);
    EXPECT_EQ(matrix.loss, expected.loss);
    EXPECT_EQ(matrix.relative_error, expected.relative_error);
    EXPECT_EQ(matrix.damping, expected.damping);
    for (int64_t i = 0; i < kRows * kColumns; ++i) {
      const int64_t grid = i / kColumns * 3 + matrix.group_index[i % kColumns];
      ASSERT_EQ(matrix.dequantized[i],
                (static_cast<float>(matrix.codes[i]) - matrix.zeros[grid]) * matrix.scales[grid]);
    }
  }
}

TEST(Library, LinearsOfALayerAreSolvedAsIfAlone) {
  const std::vector<float> hessian = HessianOfAll(), other = Random(7 * kColumns, 3);
  const FloatMatrix weights[] = {kWeightMatrix, {other.data(), 7, kColumns}};
  const std::vector<QuantizedMatrix> layer = QuantizeLayer(weights, Square(hessian));
  ASSERT_EQ(layer.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const QuantizedMatrix alone = QuantizeMatrix(weights[i], Square(hessian), {}, 3);
    EXPECT_EQ(layer[i].codes, alone.codes);
    EXPECT_EQ(layer[i].loss, alone.loss);
  }
  EXPECT_TRUE(QuantizeLayer({}, Square(hessian)).empty());
}

TEST(Library, RoundingNeedsNoHessian) {
  QualityOptions options;
  options.method = "rtn";
  const QuantizedMatrix blind = QuantizeMatrix(kWeightMatrix, {}, options);
  EXPECT_FALSE(blind.loss || blind.relative_error || blind.damping);
  EXPECT_EQ(blind.codes, QuantizeMatrix(kWeightMatrix, Square(HessianOfAll()), options).codes);
  options.method = "gptq";
  EXPECT_THROW(QuantizeMatrix(kWeightMatrix, {}, options), std::runtime_error);
}

TEST(Library, EmptyOptionsAreTheDefaults) {
  const SolverOptions resolved = ResolveSolverOptions({}, DType::kF16), defaults;
  EXPECT_EQ(resolved.bits, defaults.bits);
  EXPECT_EQ(resolved.group_size, defaults.group_size);
  EXPECT_EQ(resolved.symmetric, defaults.symmetric);
  EXPECT_EQ(resolved.order, defaults.order);
  EXPECT_EQ(resolved.clip, defaults.clip);
  EXPECT_EQ(resolved.damping, defaults.damping);
  const QuantizeOptions model = ResolveQuantizeOptions({}), model_defaults;
  EXPECT_EQ(model.calibration.samples, model_defaults.calibration.samples);
  EXPECT_EQ(model.calibration.sequence_length, model_defaults.calibration.sequence_length);
  EXPECT_EQ(model.calibration.seed, model_defaults.calibration.seed);
  EXPECT_EQ(model.calibration.sink_sequences, model_defaults.calibration.sink_sequences);
  EXPECT_EQ(model.token_weighting, model_defaults.token_weighting);
  EXPECT_EQ(model.asymmetric_calibration, model_defaults.asymmetric_calibration);
  EXPECT_EQ(model.residual_correction, model_defaults.residual_correction);
  ModelOptions best;
  best.quality.recipe = "best";
  EXPECT_EQ(ResolveQuantizeOptions(best).residual_correction, 0.5);
  best.residual_correction = 0;
  EXPECT_EQ(ResolveQuantizeOptions(best).residual_correction, 0);
}

// EXPECT_ERROR's twin for impossible options.
std::string InvalidArgument(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "no std::invalid_argument";
}

TEST(Library, ImpossibleOptionsAreInvalidArguments) {
  using testing::HasSubstr;
  const std::vector<float> hessian = HessianOfAll();
  const auto with = [&](const std::function<void(QualityOptions&)>& change) {
    QualityOptions options;
    change(options);
    return InvalidArgument([&] { QuantizeMatrix(kWeightMatrix, Square(hessian), options); });
  };
  EXPECT_THAT(with([](QualityOptions& o) { o.bits = 9; }), HasSubstr("--bits 9"));
  EXPECT_THAT(with([](QualityOptions& o) { o.bits = 2.5; }), HasSubstr("--bits 2.5"));
  EXPECT_THAT(with([](QualityOptions& o) { o.bits = std::numeric_limits<double>::quiet_NaN(); }),
              HasSubstr("--bits nan"));
  EXPECT_THAT(with([](QualityOptions& o) { o.order = "random"; }), HasSubstr("--order random"));
  EXPECT_THAT(with([](QualityOptions& o) { o.recipe = "worst"; }), HasSubstr("--recipe worst"));
  EXPECT_THAT(with([](QualityOptions& o) { o.method = "magic"; }), HasSubstr("magic"));
  EXPECT_THAT(InvalidArgument([&] { QuantizeMatrix(kWeightMatrix, Square(hessian), {}, -1); }),
              HasSubstr("threads -1"));
  EXPECT_THAT(InvalidArgument([] { LayerInputs inputs(0); }), HasSubstr("columns 0"));
  const auto model = [](const std::function<void(ModelOptions&)>& change) {
    ModelOptions options;
    change(options);
    return InvalidArgument([&] { QuantizeModel("none", "out", options); });
  };
  EXPECT_THAT(model([](ModelOptions& o) { o.format = "zip"; }), HasSubstr("--format zip"));
  EXPECT_THAT(model([](ModelOptions& o) { o.samples = 0; }), HasSubstr("--samples 0"));
  EXPECT_THAT(model([](ModelOptions& o) { o.sequence_length = -1; }), HasSubstr("--sequence-length -1"));
  EXPECT_THAT(model([](ModelOptions& o) { o.sink_sequences = -1; }), HasSubstr("--sink-sequences -1"));
  EXPECT_THAT(model([](ModelOptions& o) { o.token_weighting = "?"; }), HasSubstr("--token-weighting ?"));
  EXPECT_THAT(model([](ModelOptions& o) { o.asymmetric_calibration = 2; }),
              HasSubstr("--asymmetric-calibration 2"));
  EXPECT_THAT(model([](ModelOptions& o) { o.residual_correction = -1; }), HasSubstr("--residual-correction -1"));
  EXPECT_THAT(model([](ModelOptions& o) { o.quality.bits = 5; }), HasSubstr("--bits 5"));
  EXPECT_THAT(model([](ModelOptions& o) { o.quality.bits = 1.58; }), HasSubstr("--bits 1.58"));
  EXPECT_THAT(model([](ModelOptions& o) { o.bits_for = {{"q", 7}}; }), HasSubstr("q=7"));
  EXPECT_THAT(model([](ModelOptions& o) { o.skip = {std::string(1001, 'a')}; }), HasSubstr("--skip"));
}

TEST(Library, BadMatricesAreErrors) {
  const std::vector<float> hessian = HessianOfAll();
  EXPECT_ERROR(QuantizeMatrix({}, Square(hessian)), "weight 0");
  EXPECT_ERROR(QuantizeMatrix({kWeight.data(), -1, kColumns}, Square(hessian)), "weight 0");
  EXPECT_ERROR(QuantizeMatrix({kWeight.data(), kRows, 95}, Square(hessian)), "95 columns where 96");
  EXPECT_ERROR(QuantizeMatrix(kWeightMatrix, {hessian.data(), 95, kColumns}), "the hessian");
  std::vector<float> damaged = kWeight;
  damaged[3] = std::numeric_limits<float>::infinity();
  QualityOptions rounding;
  rounding.method = "rtn";
  EXPECT_ERROR(QuantizeMatrix({damaged.data(), kRows, kColumns}, Square(hessian)), "NaN or infinite");
  EXPECT_ERROR(QuantizeMatrix({damaged.data(), kRows, kColumns}, {}, rounding), "NaN or infinite");
  LayerInputs inputs(kColumns);
  EXPECT_ERROR(inputs.Hessian(), "no inputs");
  EXPECT_ERROR(inputs.Add({kInputs.data(), 2, 95}), "95 columns where 96");
  EXPECT_ERROR(inputs.Add({nullptr, 2, kColumns}), "without data");
  inputs.Add({damaged.data(), kRows, kColumns});
  EXPECT_ERROR(inputs.Hessian(), "NaN or infinite");
}

class LibraryModel : public testing::Test {
 protected:
  LibraryModel() {
    options_.calibration = fs::path(GPTQ_SOURCE_DIR) / "data/tinystories/calibration.jsonl";
    options_.samples = 4;
    options_.sequence_length = 64;
    options_.quality.group_size = 64;
  }

  const fs::path stories_ = fs::path(GPTQ_SOURCE_DIR) / "models/stories260K";
  TemporaryFolder folder_;
  ModelOptions options_;
};

TEST_F(LibraryModel, IsQuantized) {
  int64_t last = -1, calls = 0;
  ModelCallbacks callbacks;
  callbacks.progress = [&](std::string_view stage, int64_t done, int64_t steps) {
    EXPECT_FALSE(stage.empty());
    EXPECT_LE(done, steps);
    if (stage == "quantize") last = done;
    ++calls;
  };
  options_.bits_for = {{"down_proj", 8}};
  const fs::path output = folder_.path() / "out";
  const QuantizedModel model = QuantizeModel(stories_, output, options_, 2, callbacks);
  EXPECT_EQ(model.output, output);
  EXPECT_TRUE(fs::exists(output / "config.json"));
  EXPECT_EQ(model.calibration_samples, 4);
  EXPECT_EQ(model.calibration_tokens, 256);
  ASSERT_EQ(model.linears.size(), 35u);
  for (const QuantizedLinear& linear : model.linears) {
    const bool down = linear.name.find("down_proj") != std::string::npos;
    EXPECT_EQ(linear.bits, down ? 8 : 4) << linear.name;
    EXPECT_GT(linear.relative_error.value(), 0) << linear.name;
    EXPECT_LT(linear.relative_error.value(), 0.5) << linear.name;
  }
  EXPECT_EQ(last, 5);
  EXPECT_GT(calls, 5);
}

TEST_F(LibraryModel, CallersMayStopIt) {
  struct Enough {};
  ModelCallbacks callbacks;
  callbacks.progress = [](std::string_view, int64_t done, int64_t) {
    if (done == 2) throw Enough();
  };
  EXPECT_THROW(QuantizeModel(stories_, folder_.path() / "out", options_, 2, callbacks), Enough);
  EXPECT_FALSE(fs::exists(folder_.path() / "out"));
}

TEST_F(LibraryModel, WhatCannotBeReadIsARuntimeError) {
  try {
    QuantizeModel(folder_.path() / "missing", folder_.path() / "out", options_);
    FAIL() << "no error";
  } catch (const std::runtime_error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("missing"));
  }
}

}  // namespace gptq_test
}  // namespace gptq
