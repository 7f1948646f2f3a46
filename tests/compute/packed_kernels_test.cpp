// Quantized weights, tiles and kernels of every instruction set against float64.
#include "compute/cpu/packed_kernels.h"

#include "base/convert.h"
#include "base/gguf_block.h"
#include "compute/cpu/packed_linear.h"
#include "tests/compute/plain.h"

namespace gptq {
namespace packed_kernels_test {

using plain::Random;
using plain::View;

std::vector<const PackedKernels*> Supported() {
  std::vector<const PackedKernels*> supported;
  for (const PackedKernels* kernels : AllPackedKernels()) {
    if (kernels->supported()) supported.push_back(kernels);
  }
  return supported;
}

struct Shape2 {
  int64_t rows, columns, group_size;  // group_size <= 0: whole rows
};

enum class Zeros { kMiddle, kRandom, kExtreme };

PackedWeight RandomWeight(const Shape2& shape, int bits, Zeros zeros, bool activation_order, DType scale_type,
                          uint32_t seed) {
  std::mt19937 generator(seed);
  PackedWeight w;
  w.rows = shape.rows, w.columns = shape.columns, w.bits = bits;
  w.group_size = shape.group_size > 0 ? shape.group_size : shape.columns;
  w.groups = (w.columns + w.group_size - 1) / w.group_size;
  w.symmetric = zeros == Zeros::kMiddle;
  w.scale_type = scale_type;
  const uint32_t levels = 1u << bits;
  for (int64_t i = 0; i < w.rows * w.columns; ++i)
    w.codes.push_back(static_cast<uint8_t>(generator() % levels));
  for (int64_t i = 0; i < w.rows * w.groups; ++i) {
    const float scale = 0.01f + static_cast<float>(generator() % 1000) * 1e-4f;
    w.scales.push_back(scale_type == DType::kF32 ? scale
                                                 : std::ldexp(std::round(std::ldexp(scale, 14)), -14));
    w.zeros.push_back(static_cast<int16_t>(zeros == Zeros::kMiddle   ? levels / 2
                                           : zeros == Zeros::kRandom ? generator() % levels
                                                                     : generator() % 2 * levels));
  }
  for (int64_t c = 0; c < w.columns; ++c) w.group_index.push_back(static_cast<int32_t>(c / w.group_size));
  if (activation_order) std::shuffle(w.group_index.begin(), w.group_index.end(), generator);
  return w;
}

std::vector<float> Dequantized(const PackedWeight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows * weight.columns));
  DequantizeRows(weight, 0, weight.rows, values.data());
  return values;
}

std::vector<float> Multiply(const PackedKernels& kernels, ThreadPool& pool, int planes, std::vector<float> x,
                            const Weight& weight, const std::vector<float>& bias, int64_t rows) {
  ThreadScratch scratch(pool.threads());
  PackedInputBuffer buffer;
  std::vector<float> y(static_cast<size_t>(rows * weight.rows()), std::numeric_limits<float>::quiet_NaN());
  const LinearProduct product{&weight, bias, View(y, rows, weight.rows())};
  MultiplyTiled(kernels, pool, scratch, buffer, planes, View(x, rows, weight.columns()), {&product, 1});
  return y;
}

// Inputs are rounded to steps of the greatest of their block, at most of their row, by 127 or 32639; the rest
// is float32. `apart`: what was multiplied apart may have been rounded by so much.
void ExpectNear(int planes, const std::vector<float>& y, const std::vector<float>& x,
                const std::vector<float>& w, const std::vector<float>& bias, int64_t rows, int64_t outputs,
                int64_t inputs, double apart = 0) {
  const plain::Product twin = plain::Linear(x, w, bias, rows, outputs, inputs);
  for (int64_t r = 0; r < rows; ++r) {
    float greatest = 0;
    for (int64_t i = 0; i < inputs; ++i) greatest = std::max(greatest, std::abs(x[r * inputs + i]));
    for (int64_t o = 0; o < outputs; ++o) {
      double weights = 0;
      for (int64_t i = 0; i < inputs; ++i) weights += std::abs(w[o * inputs + i]);
      const double bound = weights * greatest * 0.5 / PackedKernels::LargestValue(planes);
      const double rounding = 2e-6 * twin.magnitude[r * outputs + o] + apart;
      ASSERT_NEAR(y[r * outputs + o], twin.value[r * outputs + o], bound + rounding) << r << ", " << o;
    }
  }
}

class PackedKernelsTest : public testing::TestWithParam<const PackedKernels*> {
 protected:
  void Check(const PackedWeight& packed, int64_t rows, uint32_t seed) {
    const std::vector<float> x = Random(rows * packed.columns, seed), w = Dequantized(packed);
    const std::vector<float> bias = seed % 2 == 0 ? Random(packed.rows, seed + 1) : std::vector<float>();
    const Weight weight(packed, &two_);
    for (const int planes : {1, 2}) {
      SCOPED_TRACE(Concat(planes, " planes"));
      const std::vector<float> y = Multiply(*GetParam(), one_, planes, x, weight, bias, rows);
      ExpectNear(planes, y, x, w, bias, rows, packed.rows, packed.columns);
      EXPECT_EQ(Multiply(*GetParam(), two_, planes, x, weight, bias, rows), y) << "by two threads";
    }
  }

  void ExpectRowsAlone(const Weight& weight, const std::vector<float>& dequantized, int planes,
                       uint32_t seed) {
    const int64_t most = PackedKernels::kMostRows + 21, columns = weight.columns();
    std::vector<float> x = Random(most * columns, seed);
    // Some rows have outliers, some not.
    for (int64_t row = 0; row < most; row += 1 + row % 7) x[row * columns + (row * 29 + 5) % columns] *= 70;
    std::vector<float> alone;
    for (int64_t row = 0; row < most; ++row) {
      const std::vector<float> one(x.begin() + row * columns, x.begin() + (row + 1) * columns);
      const std::vector<float> y = Multiply(*GetParam(), one_, planes, one, weight, {}, 1);
      alone.insert(alone.end(), y.begin(), y.end());
    }
    ExpectNear(planes, alone, x, dequantized, {}, most, weight.rows(), columns);
    for (const int64_t rows :
         {int64_t{2}, int64_t{3}, int64_t{7}, int64_t{15}, int64_t{16}, int64_t{43}, most}) {
      const std::vector<float> some(x.begin(), x.begin() + rows * columns);
      const std::vector<float> y = Multiply(*GetParam(), two_, planes, some, weight, {}, rows);
      EXPECT_TRUE(std::equal(y.begin(), y.end(), alone.begin())) << rows;
    }
  }

  ThreadPool one_{1}, two_{2};
};

INSTANTIATE_TEST_SUITE_P(EveryIsa, PackedKernelsTest, testing::ValuesIn(Supported()),
                         [](const auto& isa) { return std::string(isa.param->isa); });

TEST_P(PackedKernelsTest, EveryWidthZeroAndOrder) {
  uint32_t seed = 1;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const Zeros zeros : {Zeros::kMiddle, Zeros::kRandom, Zeros::kExtreme}) {
      for (const bool activation_order : {false, true}) {
        for (const DType scale_type : {DType::kF16, DType::kF32}) {
          SCOPED_TRACE(Concat(bits, " bits, zeros ", static_cast<int>(zeros), ", order ", activation_order));
          const PackedWeight weight =
              RandomWeight({50, 256, 64}, bits, zeros, activation_order, scale_type, seed);
          Check(weight, 1 + seed % 3, seed);
          ++seed;
        }
      }
    }
  }
}

TEST_P(PackedKernelsTest, ShapesAndTails) {
  uint32_t seed = 100;
  for (const Shape2& shape : {Shape2{1, 1, -1},
                              {16, 32, 32},
                              {17, 33, -1},
                              {33, 172, 64},
                              {40, 100, 16},
                              {64, 576, 128},
                              {31, 300, -1},
                              {48, 96, 24},
                              {5, 1000, 32}}) {
    for (const int bits : {2, 3, 4, 6, 8}) {
      SCOPED_TRACE(Concat(shape.rows, " x ", shape.columns, " in ", shape.group_size, ", ", bits, " bits"));
      Check(RandomWeight(shape, bits, Zeros::kRandom, false, DType::kF16, seed), 1 + seed % 4, seed);
      ++seed;
    }
  }
}

// A row's result is the same, to the last bit, in every company: few rows and many go by different kernels.
TEST_P(PackedKernelsTest, RowsDoNotDependOnEachOther) {
  uint32_t seed = 7;
  for (const Shape2& shape : {Shape2{48, 320, 64}, {33, 172, 32}, {70, 352, 96}, {16, 500, -1}}) {
    for (int bits = 2; bits <= 8; ++bits) {
      for (const int planes : {1, 2}) {
        SCOPED_TRACE(Concat(shape.columns, " columns, ", bits, " bits, ", planes, " planes"));
        const Zeros zeros = bits == 8 && seed % 2 == 0 ? Zeros::kMiddle : Zeros::kRandom;
        const PackedWeight packed = RandomWeight(shape, bits, zeros, seed % 3 == 0, DType::kF16, seed);
        ExpectRowsAlone(Weight(packed), Dequantized(packed), planes, ++seed);
      }
    }
  }
}

// Not only near: the products of just these bytes.
TEST_P(PackedKernelsTest, OnePlaneRoundsToTheNearestByte) {
  const PackedWeight packed = RandomWeight({16, 160, 32}, 8, Zeros::kMiddle, false, DType::kF32, 12);
  const std::vector<float> x = Random(160, 13);
  std::vector<float> rounded = x;
  for (auto block = rounded.begin(); block < rounded.end(); block += 32) {
    float most = 0;
    for (int i = 0; i < 32; ++i) most = std::max(most, std::abs(block[i]));
    for (int i = 0; i < 32; ++i) block[i] = std::nearbyint(block[i] * (127 / most)) * (most / 127);
  }
  const std::vector<float> y = Multiply(*GetParam(), one_, 1, x, Weight(packed), {}, 1);
  EXPECT_LT(plain::WorstError(y, plain::Linear(rounded, Dequantized(packed), {}, 1, 16, 160)), 1e-6);
}

TEST_P(PackedKernelsTest, OutliersZerosAndWhatIsNotFinite) {
  const PackedWeight packed = RandomWeight({16, 256, 32}, 4, Zeros::kMiddle, false, DType::kF16, 9);
  const Weight weight(packed);
  std::vector<float> x = Random(256, 10);
  std::fill_n(x.begin(), 32, 0.0f);  // a block of zeros
  x[40] = 1e6f;                      // disturbs its own block only
  x[100] = 1e-38f;
  for (const int planes : {1, 2}) {
    ExpectNear(planes, Multiply(*GetParam(), one_, planes, x, weight, {}, 1), x, Dequantized(packed), {}, 1,
               16, 256);
  }
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    x[77] = bad;
    for (const int planes : {1, 2}) {
      for (const float y : Multiply(*GetParam(), one_, planes, x, weight, {}, 1)) EXPECT_TRUE(std::isnan(y));
    }
  }
}

// Great inputs do not spoil their neighbours: the error is that of the others alone.
TEST_P(PackedKernelsTest, OutliersAreMultipliedApart) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool activation_order : {false, true}) {
      const PackedWeight packed =
          RandomWeight({40, 512, 128}, bits, Zeros::kRandom, activation_order, DType::kF16, 14);
      const Weight weight(packed);
      const int64_t rows = 130, great[] = {200, 407};
      std::vector<float> x = Random(rows * 512, 15), calm = x, w = Dequantized(packed);
      for (int64_t r = 0; r < rows; r += 1 + r % 3) {
        for (const int64_t column : great) {
          x[r * 512 + column + r % 5] = r % 3 == 0 ? 1e4f : -8e3f;
          calm[r * 512 + column + r % 5] = 0;
        }
      }
      for (const int planes : {1, 2}) {
        SCOPED_TRACE(Concat(bits, " bits, ", planes, " planes"));
        std::vector<float> y = Multiply(*GetParam(), two_, planes, x, weight, {}, rows);
        for (int64_t r = 0; r < rows; r += 1 + r % 3) {
          for (int64_t o = 0; o < packed.rows; ++o) {
            for (const int64_t column : great)
              y[r * packed.rows + o] -= x[r * 512 + column + r % 5] * w[o * 512 + column + r % 5];
          }
        }
        ExpectNear(planes, y, calm, w, {}, rows, packed.rows, 512, 1e-2 * *std::ranges::max_element(w));
      }
    }
  }
}

// The sums of the widest block of the greatest codes fit.
TEST_P(PackedKernelsTest, GreatestValues) {
  for (int bits = 2; bits <= 8; ++bits) {
    PackedWeight packed = RandomWeight({32, 128, -1}, bits, Zeros::kMiddle, false, DType::kF32, 11);
    std::ranges::fill(packed.codes, static_cast<uint8_t>((1 << bits) - 1));
    std::ranges::fill(packed.zeros, int16_t{0});
    for (const float value : {1.0f, -1.0f}) {
      for (const int planes : {1, 2}) {
        for (const int64_t rows : {1, 6}) {
          const std::vector<float> x(static_cast<size_t>(rows * 128), value);
          const std::vector<float> y = Multiply(*GetParam(), one_, planes, x, Weight(packed), {}, rows);
          const plain::Product twin = plain::Linear(x, Dequantized(packed), {}, rows, 32, 128);
          EXPECT_LT(plain::WorstError(y, twin), 2e-6) << bits << " bits, " << planes << " planes";
        }
      }
    }
  }
}

TEST(PackedKernels, SelectedByName) {
  EXPECT_EQ(&SelectPackedKernels(""), Supported().front());
  EXPECT_EQ(SelectPackedKernels("portable").isa, "portable");
  EXPECT_ERROR(SelectPackedKernels("avx1024"), "avx1024");
}

TEST(TiledWeight, ReadsBackWhatItWasMadeOf) {
  uint32_t seed = 200;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool activation_order : {false, true}) {
      for (const Shape2& shape : {Shape2{37, 200, 64}, {16, 77, -1}, {20, 90, 10}}) {
        const PackedWeight packed =
            RandomWeight(shape, bits, Zeros::kRandom, activation_order, DType::kF16, ++seed);
        const TiledWeight weight(packed);
        std::vector<float> values(static_cast<size_t>(shape.rows * shape.columns));
        weight.ReadRows(0, shape.rows, values.data());
        EXPECT_EQ(values, Dequantized(packed));
        weight.ReadRows(shape.rows - 1, 1, values.data());
        EXPECT_TRUE(std::equal(values.begin(), values.begin() + shape.columns,
                               Dequantized(packed).end() - shape.columns));
      }
    }
  }
}

// What is moved stays what it is, in the bytes that it said it takes.
TEST(TiledWeight, MovedIntoSharedMemory) {
  for (const Zeros zeros : {Zeros::kMiddle, Zeros::kRandom, Zeros::kExtreme}) {
    const PackedWeight packed = RandomWeight({37, 200, 64}, 4, zeros, false, DType::kF16, 5);
    auto one = std::make_unique<Weight>(packed), two = std::make_unique<Weight>(packed);
    const int64_t lines = one->tiled()->line_bytes(), bytes = one->bytes();
    const auto memory = std::make_shared<Tensor>(DType::kU8, Shape{2 * lines + 64});
    std::ranges::fill(memory->As<uint8_t>(), uint8_t{0x5a});
    one->MoveTo(memory, 0);
    two->MoveTo(memory, lines);
    EXPECT_EQ(one->bytes(), bytes);
    std::vector<float> values(37 * 200);
    for (const Weight* weight : {one.get(), two.get()}) {
      weight->ReadRows(0, 37, values.data());
      EXPECT_EQ(values, Dequantized(packed));
    }
    for (const uint8_t byte : memory->As<uint8_t>().last(64)) EXPECT_EQ(byte, 0x5a);
    one.reset();
    two->ReadRows(0, 37, values.data());
    EXPECT_EQ(values, Dequantized(packed));
  }
}

// Codes and scales and little else: the codes of 4 bits with a float16 scale for 128 take 4.125 bits.
TEST(TiledWeight, IsAsSmallAsItsBits) {
  const PackedWeight packed = RandomWeight({256, 512, 128}, 4, Zeros::kMiddle, false, DType::kF16, 3);
  EXPECT_EQ(TiledWeight(packed).bytes(), 256 * 512 * 4125 / 8000);
}

// Of several products of one x each is what it is alone, whether they can be done together or not.
class ProductsTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(ActivationBits, ProductsTest, testing::Values(8, 16, 32));

TEST_P(ProductsTest, Together) {
  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend = MakeCpuBackend(2);
  backend->SetActivationBits(GetParam());
  const auto weight = [&](const Shape2& shape, int bits, bool order) {
    return Weight(RandomWeight(shape, bits, Zeros::kRandom, order, DType::kF16, 17));
  };
  for (const int64_t rows : {1, 3, 30}) {
    std::vector<float> x = Random(rows * 128, 19);
    for (const bool alike : {true, false}) {
      const Weight weights[] = {weight({100, 128, 32}, 4, false), weight({16, 128, 32}, alike ? 4 : 3, false),
                                weight({33, 128, 32}, 4, !alike)};
      std::vector<float> together[3], alone[3];
      std::vector<LinearProduct> products;
      for (int i = 0; i < 3; ++i) {
        together[i].resize(static_cast<size_t>(rows * weights[i].rows()));
        alone[i] = together[i];
        products.push_back({&weights[i], {}, View(together[i], rows, weights[i].rows())});
        backend->Linear(View(x, rows, 128), weights[i], {}, View(alone[i], rows, weights[i].rows()));
      }
      backend->Linears(View(x, rows, 128), products);
      for (int i = 0; i < 3; ++i) EXPECT_EQ(together[i], alone[i]) << rows << " rows, product " << i;
    }
  }
}

constexpr DType kBlockTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                                 DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// A matrix of GGUF blocks with all that a block can say.
struct RandomBlocks {
  RandomBlocks(DType dtype, int64_t rows, int64_t columns, uint32_t seed)
      : bytes(static_cast<size_t>(ByteSize(dtype, rows * columns))),
        view{dtype, {rows, columns}, bytes.data()} {
    const GgufBlockType& type = *FindGgufBlockType(dtype);
    std::mt19937 generator(seed);
    const auto random = [&](int least, int greatest) {
      return static_cast<int16_t>(
          least + static_cast<int>(generator() % static_cast<uint32_t>(greatest - least + 1)));
    };
    for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(Info(dtype).block_bytes)) {
      GgufBlockGrid grid;
      grid.scale = static_cast<float>(random(-1000, 1000)) / 1024;
      if (type.minima) grid.minimum = static_cast<float>(random(0, 1000)) / 1024;
      for (int64_t g = 0; type.super() && g < type.groups(); ++g) {
        grid.scales[g] = random(type.least_scale, type.greatest_scale);
        if (type.minima) grid.minima[g] = random(0, type.greatest_scale);
      }
      uint8_t codes[kMostBlockColumns];
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random(0, type.maximum_code()));
      EncodeGgufBlock(type, grid, codes, bytes.data() + at);
    }
  }
  std::vector<float> Values(const std::vector<int32_t>& row_order = {}) const {
    std::vector<float> values(static_cast<size_t>(view.elements()));
    Weight(view, row_order).ReadRows(0, view.rows(), values.data());
    return values;
  }

  std::vector<std::byte> bytes;
  TensorView view;
};

TEST(TiledWeight, BlocksOfGgufAreReadBackToTheBit) {
  ThreadPool pool(2);
  for (const DType dtype : kBlockTypes) {
    const int64_t rows = 21, columns = 512;
    const RandomBlocks blocks(dtype, rows, columns, 5);
    std::vector<int32_t> order;
    for (int32_t r = 0; r < rows; ++r) order.push_back(static_cast<int32_t>(rows) - 1 - r);
    for (const std::vector<int32_t>& row_order : {std::vector<int32_t>(), order}) {
      const std::optional<TiledWeight> weight = TiledWeight::FromBlocks(blocks.view, row_order, &pool);
      ASSERT_TRUE(weight.has_value());
      std::vector<float> values(static_cast<size_t>(rows * columns));
      weight->ReadRows(0, rows, values.data());
      EXPECT_EQ(values, blocks.Values(row_order)) << Name(dtype);
    }
  }
  EXPECT_FALSE(TiledWeight::FromBlocks({DType::kF16, {2, 32}, nullptr}, {}).has_value());
}

TEST_P(PackedKernelsTest, BlocksOfGguf) {
  for (const DType dtype : kBlockTypes) {
    const int64_t rows = 53, columns = 768, most = 43;
    const RandomBlocks blocks(dtype, rows, columns, 6);
    Weight weight(blocks.view);
    ASSERT_TRUE(weight.Tile(two_));
    std::vector<float> x = Random(most * columns, 7);
    for (int64_t r = 0; r < most; r += 2) x[r * columns + (r * 37 + 9) % columns] *= 100;  // outliers
    for (const int planes : {1, 2}) {
      SCOPED_TRACE(Concat(Name(dtype), ", ", planes, " planes"));
      const std::vector<float> y = Multiply(*GetParam(), two_, planes, x, weight, {}, most);
      ExpectNear(planes, y, x, blocks.Values(), {}, most, rows, columns);
      for (const int64_t count : {1, 2, 3, 5, 6, 13}) {
        const std::vector<float> some(x.begin(), x.begin() + count * columns);
        const std::vector<float> few = Multiply(*GetParam(), one_, planes, some, weight, {}, count);
        EXPECT_TRUE(std::equal(few.begin(), few.end(), y.begin())) << count << " rows";
      }
    }
  }
}

// The sums of the greatest codes, sub-scales and inputs fit.
TEST_P(PackedKernelsTest, GreatestValuesOfSuperBlocks) {
  for (const DType dtype : kBlockTypes) {
    const GgufBlockType& type = *FindGgufBlockType(dtype);
    GgufBlockGrid grid;
    grid.scale = 65504, grid.minimum = type.minima ? 65504.0f : 0.0f;
    std::ranges::fill(grid.scales,
                      static_cast<int16_t>(type.least_scale < 0 ? type.least_scale : type.greatest_scale));
    std::ranges::fill(grid.minima, static_cast<int16_t>(type.minima ? type.greatest_scale : 0));
    for (const int code : {0, type.maximum_code()}) {
      uint8_t codes[kMostBlockColumns];
      std::ranges::fill(codes, static_cast<uint8_t>(code));
      std::vector<std::byte> block(static_cast<size_t>(Info(dtype).block_bytes));
      EncodeGgufBlock(type, grid, codes, block.data());
      Weight weight(TensorView{dtype, {1, type.columns}, block.data()});
      std::vector<float> w(static_cast<size_t>(type.columns));
      weight.ReadRows(0, 1, w.data());
      ASSERT_TRUE(weight.Tile(one_));
      for (const int64_t rows : {1, 6}) {
        const std::vector<float> x(static_cast<size_t>(rows * type.columns), -1.0f);
        for (const int planes : {1, 2}) {
          const std::vector<float> y = Multiply(*GetParam(), one_, planes, x, weight, {}, rows);
          EXPECT_LT(plain::WorstError(y, plain::Linear(x, w, {}, rows, 1, type.columns)), 2e-6)
              << Name(dtype);
        }
      }
    }
  }
}

// Any bytes are a block: scales that are no numbers make outputs that are none, and nothing else.
TEST_P(PackedKernelsTest, HostileBlocksOfGguf) {
  std::mt19937 generator(8);
  for (const DType dtype : kBlockTypes) {
    const int64_t rows = 16, columns = 512;
    RandomBlocks blocks(dtype, rows, columns, 9);
    for (std::byte& byte : blocks.bytes) byte = static_cast<std::byte>(generator());
    Weight weight(blocks.view);
    const std::vector<float> w = blocks.Values();
    ASSERT_TRUE(weight.Tile(one_));
    const std::vector<float> x = Random(columns, 10);
    for (const int planes : {1, 2}) {
      const std::vector<float> y = Multiply(*GetParam(), one_, planes, x, weight, {}, 1);
      for (int64_t r = 0; r < rows; ++r) {
        const bool finite = std::all_of(w.begin() + r * columns, w.begin() + (r + 1) * columns,
                                        [](float value) { return std::isfinite(value); });
        EXPECT_EQ(std::isfinite(y[static_cast<size_t>(r)]), finite) << Name(dtype) << " " << r;
      }
    }
  }
}

// Super-blocks take no more than in the file, but for scales of 6 bits that become bytes.
TEST(TiledWeight, SuperBlocksAreAsSmallAsInTheFile) {
  for (const auto& [dtype, bits] : {std::pair{DType::kQ2_K, 2.625},
                                    {DType::kQ3_K, 3.5625},
                                    {DType::kQ4_K, 4.625},
                                    {DType::kQ5_K, 5.625},
                                    {DType::kQ6_K, 6.5625}}) {
    const RandomBlocks blocks(dtype, 32, 512, 11);
    EXPECT_EQ(TiledWeight::FromBlocks(blocks.view, {})->bytes(), static_cast<int64_t>(32 * 512 * bits / 8));
  }
}

TEST(TiledWeight, SuperBlocksMovedIntoSharedMemory) {
  for (const DType dtype : {DType::kQ2_K, DType::kQ5_K, DType::kQ6_K}) {
    const RandomBlocks blocks(dtype, 37, 256, 12);
    Weight weight(*TiledWeight::FromBlocks(blocks.view, {}));
    const int64_t bytes = weight.bytes();
    weight.MoveTo(std::make_shared<Tensor>(DType::kU8, Shape{weight.tiled()->line_bytes()}), 0);
    EXPECT_EQ(weight.bytes(), bytes);
    std::vector<float> values(37 * 256);
    weight.ReadRows(0, 37, values.data());
    EXPECT_EQ(values, blocks.Values());
  }
}

}  // namespace packed_kernels_test
}  // namespace gptq
