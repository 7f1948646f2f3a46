#include "quant/gguf_rounding.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/convert.h"
#include "base/thread_pool.h"
#include "io/gguf.h"
#include "tests/test_util.h"

namespace gptq {
namespace gguf_rounding_test {

constexpr DType kAllTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                               DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

double Error(DType dtype, const Tensor& values, const TensorView& blocks) {
  const Tensor rounded = ToFloat(blocks);
  double error = 0, size = 0;
  for (int64_t i = 0; i < values.elements(); ++i) {
    const double before = values.As<float>()[i];
    error += std::pow(rounded.As<float>()[i] - before, 2);
    size += before * before;
  }
  EXPECT_GT(size, 0) << Name(dtype);
  return std::sqrt(error / size);
}

// Rounding to nearest in every type against llama.cpp's own, on the tensors of its files.
TEST(GgufRounding, IsAsGoodAsLlamaCpps) {
  for (const auto& [original, files] :
       {std::pair<const char*, std::vector<const char*>>{
            "tiny128-F16", {"tiny128-Q4_0", "tiny128-Q4_1", "tiny128-Q5_0", "tiny128-Q5_1", "tiny128-Q8_0"}},
        {"tiny256-F16",
         {"tiny256-Q2_K", "tiny256-Q3_K_M", "tiny256-Q4_K_M", "tiny256-Q5_K_M", "tiny256-Q6_K"}}}) {
    const GgufFile source = GgufFile::Open(TestData(std::string("formats/gguf/") + original + ".gguf"));
    for (const char* name : files) {
      const GgufFile file = GgufFile::Open(TestData(std::string("formats/gguf/") + name + ".gguf"));
      int compared = 0;
      for (const auto& [tensor, view] : file.tensors()) {
        if (!IsBlockType(view.dtype)) continue;
        const Tensor values = ToFloat(source.Get(tensor));
        Tensor ours = Tensor::Uninitialized(view.dtype, view.shape);
        RoundToGguf(view.dtype, values.As<float>().data(), values.elements(), ours.data());
        EXPECT_LE(Error(view.dtype, values, ours.view()), 1.002 * Error(view.dtype, values, view))
            << name << " " << tensor << " " << Name(view.dtype);
        ++compared;
      }
      EXPECT_GT(compared, 5) << name;
    }
  }
}

TEST(GgufRounding, IsTheSameByAnyNumberOfThreads) {
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(37 * kMostBlockColumns));  // the last piece is not whole
  for (float& value : values) value = normal(random);
  const auto count = static_cast<int64_t>(values.size());
  for (const DType dtype : kAllTypes) {
    std::vector<std::byte> alone(static_cast<size_t>(ByteSize(dtype, count))), together(alone.size());
    RoundToGguf(dtype, values.data(), count, alone.data());
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::ranges::fill(together, std::byte{0xAA});
      RoundToGguf(dtype, values.data(), count, together.data(), pool);
      EXPECT_EQ(alone, together) << Name(dtype) << ", " << threads << " threads";
    }
  }
}

TEST(GgufRounding, StandsOddValues) {
  for (const DType dtype : kAllTypes) {
    const GgufBlockType& type = *FindGgufBlockType(dtype);
    for (const float value : {0.0f, 1.0f, -3.0f, 1e-30f, 1e30f, -1e30f}) {
      std::vector<float> values(static_cast<size_t>(type.columns), value);
      values[0] = 0;
      std::vector<std::byte> block(static_cast<size_t>(ByteSize(dtype, type.columns)));
      RoundToGguf(dtype, values.data(), type.columns, block.data());
      std::vector<float> read(values.size());
      ToFloat(dtype, block.data(), type.columns, read.data());
      for (size_t i = 0; i < read.size(); ++i) {
        ASSERT_TRUE(std::isfinite(read[i])) << Name(dtype) << " " << value;
        const float tolerance =
            std::abs(value) < 10 && std::abs(value) > 0.1 ? 0.06f * std::abs(value) : INFINITY;
        ASSERT_LE(std::abs(read[i] - values[i]), tolerance) << Name(dtype) << " " << value;
      }
    }
  }
}

}  // namespace gguf_rounding_test
}  // namespace gptq
