// Backend::Linear on every form of a weight, against float64.
#include "compute/cpu/cpu_backend.h"
#include "tests/compute/weights.h"

namespace gptq {
namespace linear_test {

using plain::Random;
using plain::View;

constexpr double kTolerance = 1e-6;  // of the sum of the magnitudes

std::vector<float> Multiply(Backend& backend, std::vector<float> x, const Weight& weight,
                            const std::vector<float>& bias, int64_t rows) {
  std::vector<float> y(static_cast<size_t>(rows * weight.rows()), std::numeric_limits<float>::quiet_NaN());
  backend.Linear(View(x, rows, weight.columns()), weight, bias, View(y, rows, weight.rows()));
  return y;
}

struct LinearCase {
  Storage storage;
  bool reordered;
};

class LinearTest : public testing::TestWithParam<LinearCase> {
 protected:
  // Compares with the twin, and the bytes with those of other numbers of threads.
  void Check(int64_t rows, int64_t outputs, int64_t inputs, bool biased) {
    const auto [storage, reordered] = GetParam();
    const StoredWeight stored(storage, outputs, inputs, reordered, static_cast<uint32_t>(outputs));
    const std::vector<float> x = Random(rows * inputs, 1),
                             bias = biased ? Random(outputs, 2) : std::vector<float>();
    const std::vector<float> y = Multiply(*one_, x, stored.weight, bias, rows);
    EXPECT_LT(plain::WorstError(y, plain::Linear(x, stored.values, bias, rows, outputs, inputs)), kTolerance)
        << rows << " x " << outputs << " x " << inputs;
    EXPECT_EQ(Multiply(*two_, x, stored.weight, bias, rows), y);
    EXPECT_EQ(Multiply(*three_, x, stored.weight, bias, rows), y);
  }

  std::unique_ptr<Backend> one_ = MakeCpuBackend(1), two_ = MakeCpuBackend(2), three_ = MakeCpuBackend(3);
};

INSTANTIATE_TEST_SUITE_P(
    EveryStorage, LinearTest,
    testing::Values(LinearCase{Storage::kFloatView, false}, LinearCase{Storage::kFloatView, true},
                    LinearCase{Storage::kOwned, false}, LinearCase{Storage::kCrooked, false},
                    LinearCase{Storage::kHalf, false}, LinearCase{Storage::kHalf, true},
                    LinearCase{Storage::kBFloat16, false}, LinearCase{Storage::kQ8_0, false},
                    LinearCase{Storage::kQ8_0, true}, LinearCase{Storage::kPacked, false}),
    [](const auto& test) {
      return ToString(test.param.storage) + (test.param.reordered ? "Reordered" : "");
    });

TEST_P(LinearTest, FewRows) {
  for (const int64_t rows : {1, 2, 7, 8}) {
    for (const int64_t outputs : {1, 15, 16, 17, 100}) Check(rows, outputs, 96, outputs % 2 == 0);
  }
}

TEST_P(LinearTest, ManyRows) {
  for (const int64_t rows : {9, 40}) {
    for (const int64_t outputs : {1, 31, 33, 255, 256, 257, 300}) Check(rows, outputs, 64, outputs % 2 != 0);
  }
}

TEST_P(LinearTest, SeveralTilesOfRowsAndOutputs) {
  Check(511, 70, 32, true);
  Check(513, 600, 64, false);
  Check(1030, 257, 32, true);
}

TEST(Linear, WidthsThatAreNoMultipleOfAnything) {
  const auto backend = MakeCpuBackend(2);
  for (const Storage storage : {Storage::kFloatView, Storage::kHalf, Storage::kCrooked, Storage::kPacked}) {
    for (const int64_t inputs : {1, 3, 31, 61, 172, 577}) {
      for (const int64_t rows : {1, 8, 9, 70}) {
        const StoredWeight stored(storage, 37, inputs, false, 5);
        const std::vector<float> x = Random(rows * inputs, 6), bias = Random(37, 7);
        EXPECT_LT(plain::WorstError(Multiply(*backend, x, stored.weight, bias, rows),
                                    plain::Linear(x, stored.values, bias, rows, 37, inputs)),
                  kTolerance)
            << ToString(storage) << " " << rows << " x " << inputs;
      }
    }
  }
}

TEST(Linear, EveryInstructionSet) {
  const StoredWeight stored(Storage::kPacked, 300, 600, false, 16);
  const std::vector<float> x = Random(200 * 600, 17), bias = Random(300, 18);
  const plain::Product twin = plain::Linear(x, stored.values, bias, 200, 300, 600);
  EXPECT_LT(plain::WorstError(Multiply(*MakeCpuBackend(2), x, stored.weight, bias, 200), twin), kTolerance);
  EXPECT_LT(plain::WorstError(Multiply(*MakeCpuBackend(2, "portable"), x, stored.weight, bias, 200), twin),
            kTolerance);
}

// Many threads share few rows by outputs.
TEST(Linear, MoreThreadsThanTilesOfRows) {
  for (const int64_t rows : {9, 30, 200}) {
    const StoredWeight stored(Storage::kHalf, 130, 300, false, 19);
    const std::vector<float> x = Random(rows * 300, 20), bias = Random(130, 21);
    const std::vector<float> y = Multiply(*MakeCpuBackend(1), x, stored.weight, bias, rows);
    for (const int threads : {4, 16, 40})
      EXPECT_EQ(Multiply(*MakeCpuBackend(threads), x, stored.weight, bias, rows), y);
  }
}

// More weights than are held as float32 at once (8 Mi): the second chunk has another size and other tiles.
TEST(Linear, WeightsExpandedInChunks) {
  const int64_t inputs = 8192, outputs = 1024 + 300, rows = 9;
  const StoredWeight stored(Storage::kBFloat16, outputs, inputs, true, 8);
  const std::vector<float> x = Random(rows * inputs, 9), bias = Random(outputs, 10);
  const std::vector<float> y = Multiply(*MakeCpuBackend(1), x, stored.weight, bias, rows);
  EXPECT_LT(plain::WorstError(y, plain::Linear(x, stored.values, bias, rows, outputs, inputs)), kTolerance);
  EXPECT_EQ(Multiply(*MakeCpuBackend(2), x, stored.weight, bias, rows), y);
}

TEST(Linear, OneBackendServesWeightsOfAllSizesInTurn) {
  const auto backend = MakeCpuBackend(2);
  for (const int64_t outputs : {300, 20, 500, 7}) {
    for (const int64_t inputs : {32, 512, 64}) {
      const StoredWeight stored(Storage::kHalf, outputs, inputs, false, 11);
      for (const int64_t rows : {3, 12}) {
        const std::vector<float> x = Random(rows * inputs, 12);
        EXPECT_LT(plain::WorstError(Multiply(*backend, x, stored.weight, {}, rows),
                                    plain::Linear(x, stored.values, {}, rows, outputs, inputs)),
                  kTolerance);
      }
    }
  }
}

TEST(Linear, RepeatedRunsGiveTheSameBytes) {
  const StoredWeight in_place(Storage::kFloatView, 700, 192, false, 13),
      half(Storage::kHalf, 700, 192, false, 13);
  const std::vector<float> x = Random(600 * 192, 14);
  const auto backend = MakeCpuBackend(2);
  for (const StoredWeight* stored : {&in_place, &half}) {
    const std::vector<float> first = Multiply(*MakeCpuBackend(1), x, stored->weight, {}, 600);
    for (int repeat = 0; repeat < 20; ++repeat)
      ASSERT_EQ(Multiply(*backend, x, stored->weight, {}, 600), first);
  }
}

// Blocks of inputs go to the nearest multiples of a 127th of their greatest, as many as a block of weights
// has.
TEST(Linear, EightBitsOfInputs) {
  const int64_t inputs = 512, outputs = 20;
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                            DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    const DTypeInfo& info = Info(dtype);
    std::vector<std::byte> bytes(static_cast<size_t>(ByteSize(dtype, outputs * inputs)), std::byte{0x21});
    const TensorView view{dtype, {outputs, inputs}, bytes.data()};
    std::vector<float> w(static_cast<size_t>(outputs * inputs));
    Weight weight(view);
    weight.ReadRows(0, outputs, w.data());
    const auto backend = MakeCpuBackend(2);
    ASSERT_TRUE(weight.Tile(backend->pool()));
    for (const int64_t rows : {1, 3, 70}) {
      const std::vector<float> x = Random(rows * inputs, 21);
      std::vector<float> rounded = x;
      for (auto block = rounded.begin(); block < rounded.end(); block += info.block_elements) {
        const std::span values(block, static_cast<size_t>(info.block_elements));
        const float most =
            std::abs(*std::ranges::max_element(values, {}, [](float v) { return std::abs(v); }));
        for (float& value : values) value = std::nearbyint(value * (127 / most)) * (most / 127);
      }
      for (const int bits : {8, 32}) {
        backend->SetActivationBits(bits);
        const plain::Product twin = plain::Linear(bits == 8 ? rounded : x, w, {}, rows, outputs, inputs);
        EXPECT_LT(plain::WorstError(Multiply(*backend, x, weight, {}, rows), twin), kTolerance)
            << info.name << ", " << rows << " rows, " << bits << " bits";
      }
    }
  }
}

TEST(Linear, EightBitsLeaveFloatsAndWhatIsNotFinite) {
  const StoredWeight half(Storage::kHalf, 8, 64, false, 22);
  StoredWeight blocks(Storage::kQ8_0, 8, 64, false, 22);
  const auto exact = MakeCpuBackend(1), rounding = MakeCpuBackend(1);
  ASSERT_TRUE(blocks.weight.Tile(exact->pool()));
  rounding->SetActivationBits(8);
  std::vector<float> x = Random(64, 23);
  EXPECT_EQ(Multiply(*rounding, x, half.weight, {}, 1), Multiply(*exact, x, half.weight, {}, 1));
  EXPECT_NE(Multiply(*rounding, x, blocks.weight, {}, 1), Multiply(*exact, x, blocks.weight, {}, 1));
  std::ranges::fill(x, 1e-40f);
  for (const float y : Multiply(*rounding, x, blocks.weight, {}, 1)) EXPECT_EQ(y, 0.0f);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    x[40] = bad;
    for (const float y : Multiply(*rounding, x, blocks.weight, {}, 1)) EXPECT_TRUE(std::isnan(y));
  }
}

TEST(Backend, IntegerProductsRestoresWhatWas) {
  const auto backend = MakeCpuBackend(1);
  EXPECT_EQ(backend->activation_bits(), 32);
  for (const int before : {8, 16, 32}) {
    backend->SetActivationBits(before);
    {
      const IntegerProducts products(*backend);
      EXPECT_EQ(backend->activation_bits(), backend->RoundsAnyRows() ? 16 : 32);
    }
    EXPECT_EQ(backend->activation_bits(), before);
  }
}

TEST(Linear, NoRowsAtAll) {
  const StoredWeight stored(Storage::kHalf, 8, 32, false, 15);
  EXPECT_TRUE(Multiply(*MakeCpuBackend(2), {}, stored.weight, {}, 0).empty());
}

}  // namespace linear_test
}  // namespace gptq
