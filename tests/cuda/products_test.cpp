// Every product kernel of the CUDA backend against float64: bits, groups, zeros, activation order, tails,
// rows.
#include <numeric>

#include "tests/compute/weights.h"
#include "tests/cuda/cuda_fixtures.h"

namespace gptq {
namespace products_test {

using plain::Random;
using plain::View;

// Of the sum of the magnitudes. Inputs of 16 bits; inputs and weights of float16.
constexpr double kIntegerTolerance = 3e-5, kPackedTolerance = 3e-4, kHalfTolerance = 5e-4;

struct Form {
  int bits = 4;
  int64_t group_size = 128;
  bool symmetric = false, activation_order = false;
  DType scale_type = DType::kF16;
};

struct Packed {
  PackedWeight weight;
  std::vector<float> values;
};

Packed MakePacked(const Form& form, int64_t rows, int64_t columns, uint32_t seed) {
  std::mt19937 generator(seed);
  Packed packed;
  PackedWeight& w = packed.weight;
  w.rows = rows;
  w.columns = columns;
  w.bits = form.bits;
  w.group_size = form.group_size > 0 ? form.group_size : columns;
  w.groups = (columns + w.group_size - 1) / w.group_size;
  w.symmetric = form.symmetric;
  w.scale_type = form.scale_type;
  const uint32_t codes = 1u << form.bits;
  for (int64_t i = 0; i < rows * columns; ++i) w.codes.push_back(static_cast<uint8_t>(generator() % codes));
  for (int64_t i = 0; i < rows * w.groups; ++i) {
    w.scales.push_back(std::ldexp(static_cast<float>(1 + generator() % 1000), -14));  // exact as float16
    w.zeros.push_back(static_cast<int16_t>(form.symmetric ? codes / 2 : generator() % codes));
  }
  for (int64_t c = 0; c < columns; ++c) w.group_index.push_back(static_cast<int32_t>(c / w.group_size));
  if (form.activation_order) std::shuffle(w.group_index.begin(), w.group_index.end(), generator);
  packed.values.resize(static_cast<size_t>(rows * columns));
  DequantizeRows(w, 0, rows, packed.values.data());
  return packed;
}

class CudaProducts : public CudaTest {
 protected:
  std::vector<float> Multiply(const Weight& weight, std::vector<float> x, const std::vector<float>& bias,
                              int64_t rows) {
    std::vector<float> y(static_cast<size_t>(rows * weight.rows()), NAN);
    backend().Linear(View(x, rows, weight.columns()), weight, bias, View(y, rows, weight.rows()));
    return y;
  }

  void Check(const Form& form, int64_t rows, int64_t outputs, int64_t inputs) {
    const Packed packed = MakePacked(form, outputs, inputs, static_cast<uint32_t>(outputs + inputs));
    const std::vector<float> x = Random(rows * inputs, 1), bias = Random(outputs, 2);
    const Weight weight(packed.weight);
    EXPECT_LT(plain::WorstError(Multiply(weight, x, bias, rows),
                                plain::Linear(x, packed.values, bias, rows, outputs, inputs)),
              rows <= cuda::kMostPackedRows ? kIntegerTolerance : kPackedTolerance)
        << form.bits << " bits, groups of " << form.group_size << (form.symmetric ? ", symmetric" : "")
        << (form.activation_order ? ", activation order" : "") << ": " << rows << " x " << outputs << " x "
        << inputs;
  }
};

TEST_F(CudaProducts, EveryNumberOfBitsAndGroup) {
  for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
    for (const int64_t group : {32, 64, 128, 256, -1}) {
      for (const bool symmetric : {false, true}) Check({bits, group, symmetric}, 1, 24, 512);
    }
  }
}

TEST_F(CudaProducts, FewAndManyRows) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const int64_t rows : {2, 3, 4, 5, 8, 9, 33}) Check({bits, 64}, rows, 40, 192);
  }
}

TEST_F(CudaProducts, Tails) {
  for (const int bits : {3, 4}) {
    for (const int64_t outputs : {1, 15, 16, 17, 33}) {
      for (const int64_t inputs : {32, 96, 160, 200, 1056}) Check({bits, 32}, 3, outputs, inputs);
    }
  }
}

TEST_F(CudaProducts, ActivationOrderAndOddGroups) {
  for (const int64_t rows : {1, 12}) {
    Check({4, 32, false, true}, rows, 20, 160);
    Check({3, 128, true, true}, rows, 20, 300);
    Check({4, 24}, rows, 20, 120);
    Check({8, 160}, rows, 20, 480);
    Check({4, 64, false, false, DType::kF32}, rows, 20, 128);
  }
}

TEST_F(CudaProducts, EveryStorage) {
  for (const Storage storage : kStorages) {
    for (const int64_t rows : {1, 2, 4, 5, 19}) {
      const StoredWeight stored(storage, 37, 96, false, 5);
      const std::vector<float> x = Random(rows * 96, 1), bias = Random(37, 2);
      const plain::Product twin = plain::Linear(x, stored.values, bias, rows, 37, 96);
      const bool exact = storage != Storage::kPacked && storage != Storage::kQ8_0;
      for (const int bits : {16, 32}) {
        backend().SetActivationBits(bits);
        const bool rounded = rows > cuda::kMostPlainRows && bits == 16;
        EXPECT_LT(plain::WorstError(Multiply(stored.weight, x, bias, rows), twin),
                  exact && !rounded ? 1e-6 : kHalfTolerance)
            << ToString(storage) << ", " << rows << " rows, " << bits << " bits";
      }
    }
  }
  const StoredWeight odd(Storage::kFloatView, 9, 43, false, 5);  // columns that no vector fits
  for (const int64_t rows : {1, 7}) {
    const std::vector<float> x = Random(rows * 43, 1);
    EXPECT_LT(
        plain::WorstError(Multiply(odd.weight, x, {}, rows), plain::Linear(x, odd.values, {}, rows, 9, 43)),
        1e-6);
  }
}

// Of several products of one input each gets what it gets alone.
TEST_F(CudaProducts, TogetherAsAlone) {
  constexpr int64_t kInputs = 256;
  std::vector<Packed> packed;
  for (const int64_t outputs : {48, 16, 21}) packed.push_back(MakePacked({4, 128}, outputs, kInputs, 7));
  packed.push_back(MakePacked({3, 64}, 32, kInputs, 8));
  std::vector<Weight> weights;
  for (const Packed& p : packed) weights.emplace_back(p.weight);
  for (const int64_t rows : {1, 6, 17}) {
    std::vector<float> x = Random(rows * kInputs, 3);
    std::vector<std::vector<float>> alone, together;
    std::vector<LinearProduct> products;
    for (const Weight& weight : weights) {
      alone.push_back(Multiply(weight, x, {}, rows));
      together.emplace_back(alone.back().size(), NAN);
    }
    for (size_t i = 0; i < weights.size(); ++i)
      products.push_back({&weights[i], {}, View(together[i], rows, weights[i].rows())});
    backend().Linears(View(x, rows, kInputs), products);
    EXPECT_EQ(together, alone) << rows;
  }
}

TEST_F(CudaProducts, NotFiniteInputsShow) {
  const Packed packed = MakePacked({4, 128}, 16, 256, 7);
  const Weight weight(packed.weight);
  std::vector<float> x = Random(2 * 256, 3);
  x[5] = NAN;
  const std::vector<float> y = Multiply(weight, x, {}, 2);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i < 16) << i;
}

}  // namespace products_test
}  // namespace gptq
