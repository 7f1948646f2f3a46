// Quantized weights of random numbers, for tests of the formats.
#pragma once

#include <algorithm>
#include <random>

#include "base/packed_weight.h"
#include "quant/options.h"
#include "tests/test_util.h"

namespace gptq {

// Asymmetric, with groups all mixed up.
inline PackedWeight RandomWeight(int64_t rows, int64_t columns, int bits, int64_t group_size,
                                 int least_zero = 0) {
  std::mt19937 generator(static_cast<uint32_t>(rows * 1000 + columns * 10 + bits));
  SolverOptions options;
  options.bits = bits;
  options.group_size = group_size;
  PackedWeight weight;
  weight.rows = rows;
  weight.columns = columns;
  weight.bits = bits;
  weight.symmetric = false;
  weight.group_size = options.GroupColumns(columns);
  weight.groups = options.GroupCount(columns);
  for (int64_t i = 0; i < rows * columns; ++i) {
    weight.codes.push_back(static_cast<uint8_t>(generator() % (1u << bits)));
  }
  for (int64_t i = 0; i < rows * weight.groups; ++i) {
    weight.scales.push_back(static_cast<float>(generator() % 1000 + 1) / 1024);
    weight.zeros.push_back(static_cast<int16_t>(static_cast<int>(generator() % (1u << bits)) + least_zero));
  }
  for (int64_t c = 0; c < columns; ++c)
    weight.group_index.push_back(static_cast<int32_t>(c / weight.group_size));
  std::shuffle(weight.group_index.begin(), weight.group_index.end(), generator);
  return weight;
}

// The same with groups that follow each other; `symmetric`: zeros in the middle.
inline PackedWeight SequentialWeight(int64_t rows, int64_t columns, int bits, int64_t group_size,
                                     bool symmetric) {
  PackedWeight weight = RandomWeight(rows, columns, bits, group_size);
  for (int64_t c = 0; c < columns; ++c) weight.group_index[c] = static_cast<int32_t>(c / weight.group_size);
  weight.symmetric = symmetric;
  if (symmetric) std::fill(weight.zeros.begin(), weight.zeros.end(), static_cast<int16_t>(1 << (bits - 1)));
  return weight;
}

inline void ExpectEqual(const PackedWeight& a, const PackedWeight& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.columns, b.columns);
  EXPECT_EQ(a.groups, b.groups);
  EXPECT_EQ(a.group_size, b.group_size);
  EXPECT_EQ(a.scale_type, b.scale_type);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.zeros, b.zeros);
  EXPECT_EQ(a.group_index, b.group_index);
}

}  // namespace gptq
