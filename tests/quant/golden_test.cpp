// The published program's answers on 24 small layers (tests/data/gptq).
#include <algorithm>
#include <cmath>

#include "base/convert.h"
#include "base/json.h"
#include "io/safetensors.h"
#include "quant/solve_matrix.h"
#include "tests/test_util.h"

namespace gptq {
namespace golden_test {

struct GoldenCase {
  explicit GoldenCase(const std::filesystem::path& path) : file(SafetensorsFile::Open(path)) {
    settings = ParseJson(file.metadata().at("options"), path.string());
    weight = ToFloat(file.Get("weight"));
    hessian = ToFloat(file.Get("hessian"));
    options = ReferenceRecipe();
    options.bits = settings["bits"];
    options.ternary = settings["trits"];
    options.group_size = settings["group_size"];
    options.symmetric = settings["sym"];
    options.clip = settings["mse"] ? Clip::kMse : Clip::kNone;
    options.order = settings["act_order"] ? Order::kActivation : Order::kNatural;
    options.static_groups = settings["static_groups"];
    options.damping = settings["percdamp"];
    options.block_size = settings["block_size"];
    options.group_grid = settings["group_grid"] == "reference" ? GroupGrid::kReference : GroupGrid::kUpToDate;
  }

  ConstMatrixView weights() const {
    return ConstMatrix(weight.As<float>().data(), weight.shape()[0], weight.shape()[1]);
  }
  HessianView hessians() const { return {hessian.As<float>().data(), hessian.shape()[0]}; }

  SafetensorsFile file;
  Json settings;
  Tensor weight, hessian;
  SolverOptions options;
};

double RelativeGap(float a, float b) {
  return std::abs(static_cast<double>(a) - static_cast<double>(b)) /
         std::max(1e-12, std::abs(static_cast<double>(b)));
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TestData("gptq"))) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, EveryWeightAndTheLoss) {
  const GoldenCase golden(TestData("gptq/" + GetParam() + ".safetensors"));
  ThreadPool pool(2);
  const MatrixSolution solution =
      SolveMatrix(golden.weights(), golden.hessians(), Method::kGptq, golden.options, GetParam(), pool);
  const SolveResult& result = solution.result;

  const Tensor expected = ToFloat(golden.file.Get("dequantized"));
  int64_t different = 0;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    different += RelativeGap(result.dequantized[i], expected.As<float>()[i]) > 1e-4;
  }
  EXPECT_EQ(different, 0) << "of " << expected.elements();

  const double loss = 2 * golden.settings["loss_half_sum"].get<double>();
  EXPECT_NEAR(solution.loss, loss, 1e-4 * loss);
  EXPECT_NEAR(result.loss, loss, 1e-4 * loss);
  EXPECT_EQ(solution.damping, golden.options.damping);
  EXPECT_TRUE(solution.warnings.empty());

  const Tensor scales = ToFloat(golden.file.Get("scales")), zeros = ToFloat(golden.file.Get("zeros"));
  ASSERT_EQ(scales.elements(), static_cast<int64_t>(result.scales.size()));
  for (size_t i = 0; i < result.scales.size(); ++i) {
    EXPECT_LT(RelativeGap(result.scales[i], scales.As<float>()[i]), 1e-4);
    EXPECT_LT(RelativeGap(result.zeros[i], zeros.As<float>()[i]), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Golden, testing::ValuesIn(Names()),
                         [](const auto& test) { return test.param; });

TEST(GoldenFiles, AreAllThere) { EXPECT_EQ(Names().size(), 24u); }

}  // namespace golden_test
}  // namespace gptq
