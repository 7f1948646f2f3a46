// Backend::Attend against the definition in float64.
#include <limits>

#include "base/convert.h"
#include "compute/backend.h"
#include "tests/compute/plain.h"

namespace gptq {
namespace attention_test {

using plain::Random;
using plain::View;

struct Inputs {
  std::vector<float> query, keys, values;
};

// Rows of keys and values that no query may see hold NaN, so that a single look at them shows.
Inputs MakeInputs(const AttentionShape& shape, uint32_t seed, float deviation = 1.0f) {
  const int64_t width = shape.kv_heads * shape.head_dim, value_width = shape.kv_heads * shape.value_width();
  Inputs inputs{Random(shape.sequences * shape.query_tokens * shape.heads * shape.head_dim, seed, deviation),
                Random(shape.sequences * shape.key_stride * width, seed + 1, deviation),
                Random(shape.sequences * shape.key_stride * value_width, seed + 2)};
  for (int64_t s = 0; s < shape.sequences; ++s) {
    const int64_t unseen = s * shape.key_stride + shape.key_tokens, end = (s + 1) * shape.key_stride;
    std::fill(inputs.keys.begin() + unseen * width, inputs.keys.begin() + end * width, NAN);
    std::fill(inputs.values.begin() + unseen * value_width, inputs.values.begin() + end * value_width, NAN);
  }
  return inputs;
}

std::vector<float> Attend(Backend& backend, const AttentionShape& shape, Inputs inputs) {
  const int64_t rows = shape.sequences * shape.query_tokens, columns = shape.heads * shape.head_dim;
  const int64_t out_columns = shape.heads * shape.value_width();
  std::vector<float> out(static_cast<size_t>(rows * out_columns), std::numeric_limits<float>::quiet_NaN());
  backend.Attend(shape, View(inputs.query, rows, columns), inputs.keys.data(), inputs.values.data(),
                 View(out, rows, out_columns));
  return out;
}

// Keys or values [tokens, heads * width] as a cache keeps them; `floats` become what that stands for.
class Stored {
 public:
  Stored(DType type, int64_t tokens, int64_t heads, std::vector<float>& floats)
      : type_(type), tokens_(tokens), bytes_(floats.size() * static_cast<size_t>(ByteSize(type, 1))) {
    const int64_t width = static_cast<int64_t>(floats.size()) / tokens / heads;
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t token = 0; token < tokens; ++token) {
        float* const values = floats.data() + (token * heads + head) * width;
        std::byte* const to = bytes_.data() + ByteSize(type, (head * tokens + token) * width);
        if (type == DType::kI8) {
          Round(values, width, to);
        } else {
          FromFloat(values, width, type, to);
          ToFloat(type, to, width, values);
        }
      }
    }
  }
  KvRows rows() const { return {type_, bytes_.data(), scales_.empty() ? nullptr : scales_.data(), tokens_}; }

 private:
  void Round(float* values, int64_t width, std::byte* to) {
    float largest = 0;
    for (int64_t i = 0; i < width; ++i)
      largest = std::abs(values[i]) <= largest ? largest : std::abs(values[i]);
    const float scale = largest / 127;
    scales_.push_back(scale);
    for (int64_t i = 0; i < width; ++i) {
      const float rounded = std::isnan(scale) ? 1 : std::rint(values[i] / scale);
      to[i] = static_cast<std::byte>(static_cast<int8_t>(rounded));
      values[i] = rounded * scale;
    }
  }

  DType type_;
  int64_t tokens_;
  std::vector<std::byte> bytes_;
  std::vector<float> scales_;  // [heads, tokens]
};

// What is computed from `inputs` as they are stored; they become what that stands for.
std::vector<float> AttendStored(Backend& backend, const AttentionShape& shape, DType type, Inputs& inputs) {
  const int64_t tokens = shape.sequences * shape.key_stride, rows = shape.sequences * shape.query_tokens;
  const Stored keys(type, tokens, shape.kv_heads, inputs.keys);
  const Stored values(type, tokens, shape.kv_heads, inputs.values);
  const int64_t columns = shape.heads * shape.head_dim, out_columns = shape.heads * shape.value_width();
  std::vector<float> out(static_cast<size_t>(rows * out_columns), std::numeric_limits<float>::quiet_NaN());
  backend.Attend(shape, View(inputs.query, rows, columns), keys.rows(), values.rows(),
                 View(out, rows, out_columns));
  return out;
}

void ExpectNearTwin(const std::vector<float>& out, const AttentionShape& shape, const Inputs& inputs,
                    float deviation) {
  const std::vector<double> twin = plain::Attention(shape, inputs.query, inputs.keys, inputs.values);
  double worst = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const double error = std::abs(out[i] - twin[i]);
    worst = error >= worst ? error : std::isnan(error) ? 1e30 : worst;
  }
  EXPECT_LT(worst, 3e-6 * std::max(1.0f, deviation * deviation))
      << shape.sequences << " sequences, " << shape.query_tokens << " of " << shape.key_tokens << " tokens, "
      << shape.heads << "/" << shape.kv_heads << " heads of " << shape.head_dim;
}

void Check(AttentionShape shape, float deviation = 1.0f) {
  if (shape.key_stride == 0) shape.key_stride = shape.key_tokens;
  if (shape.scale == 1.0f) shape.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  const Inputs inputs = MakeInputs(shape, 1, deviation);
  const std::vector<float> out = Attend(*MakeCpuBackend(1), shape, inputs);
  ExpectNearTwin(out, shape, inputs, deviation);
  for (const int threads : {2, 3}) EXPECT_EQ(Attend(*MakeCpuBackend(threads), shape, inputs), out) << threads;
  for (const DType type : {DType::kF16, DType::kI8}) {
    Inputs rounded = inputs;
    const std::vector<float> stored = AttendStored(*MakeCpuBackend(2), shape, type, rounded);
    ExpectNearTwin(stored, shape, rounded, deviation);
    Inputs again = inputs;
    ASSERT_EQ(AttendStored(*MakeCpuBackend(1), shape, type, again), stored);
  }
}

TEST(Attention, FromTheFirstToken) {
  for (const int64_t tokens : {1, 2, 3, 17, 127, 128, 129, 300}) {
    Check({.query_tokens = tokens, .key_tokens = tokens, .heads = 2, .kv_heads = 2, .head_dim = 16});
  }
}

TEST(Attention, WithPastKeys) {
  for (const int64_t queries : {1, 2, 5, 130}) {
    for (const int64_t past : {1, 7, 100, 511, 512, 513}) {
      Check(
          {.query_tokens = queries, .key_tokens = past + queries, .heads = 2, .kv_heads = 1, .head_dim = 8});
    }
  }
}

// Up to 4 queries go alone, more of them in tiles.
TEST(Attention, FewQueriesAndAFewMore) {
  for (int64_t queries = 1; queries <= 9; ++queries) {
    for (const int64_t past : {0, 1, 119, 120, 500}) {
      Check(
          {.query_tokens = queries, .key_tokens = past + queries, .heads = 6, .kv_heads = 2, .head_dim = 10});
    }
  }
}

// Tiles hold the queries of many heads, but not of so many.
TEST(Attention, ManyHeadsShareKeys) {
  for (const int64_t heads : {8, 18, 19, 40, 71}) {
    for (const int64_t tokens : {3, 30, 290}) {
      if (heads > 20 && tokens > 100) continue;
      Check({.query_tokens = tokens, .key_tokens = tokens, .heads = heads, .kv_heads = 1, .head_dim = 8});
    }
  }
}

// Keys come in blocks of 120: scores that grow from block to block make the running maximum change.
TEST(Attention, OverSeveralBlocksOfKeys) {
  for (const int64_t tokens : {119, 120, 121, 240, 241, 288, 289, 640, 1300}) {
    Check({.query_tokens = tokens, .key_tokens = tokens, .heads = 1, .kv_heads = 1, .head_dim = 12});
  }
  Check({.query_tokens = 3, .key_tokens = 2500, .heads = 4, .kv_heads = 2, .head_dim = 64});
}

TEST(Attention, GroupedHeadsOfAnySize) {
  for (const int64_t head_dim : {1, 2, 12, 20, 64, 80, 128}) {
    for (const int64_t kv_heads : {1, 3, 6}) {
      Check({.query_tokens = 33, .key_tokens = 40, .heads = 6, .kv_heads = kv_heads, .head_dim = head_dim});
    }
  }
}

TEST(Attention, SeveralSequencesDoNotSeeEachOther) {
  Check({.sequences = 3, .query_tokens = 20, .key_tokens = 20, .heads = 4, .kv_heads = 2, .head_dim = 12});
  Check({.sequences = 3,
         .query_tokens = 5,
         .key_tokens = 20,
         .key_stride = 32,
         .heads = 4,
         .kv_heads = 2,
         .head_dim = 16});
  Check({.sequences = 2,
         .query_tokens = 200,
         .key_tokens = 600,
         .key_stride = 700,
         .heads = 3,
         .kv_heads = 1,
         .head_dim = 8});
}

TEST(Attention, ManySequencesOfOneToken) {
  Check({.sequences = 400, .query_tokens = 1, .key_tokens = 1, .heads = 4, .kv_heads = 2, .head_dim = 12});
  AttentionShape shape{.sequences = 300,
                       .query_tokens = 1,
                       .key_tokens = 1,
                       .key_stride = 1,
                       .heads = 2,
                       .kv_heads = 1,
                       .head_dim = 4};
  const Inputs inputs = MakeInputs(shape, 3);
  const std::vector<float> out = Attend(*MakeCpuBackend(2), shape, inputs);
  for (int64_t i = 0; i < 300 * 8; ++i)
    ASSERT_EQ(out[i], inputs.values[i / 8 * 4 + i % 4]) << "one key has all the weight";
}

TEST(Attention, Windows) {
  for (const int64_t window : {1, 2, 7, 8, 64, 119, 120, 121, 200}) {
    for (const int64_t queries : {1, 3, 5, 64, 300}) {
      for (const int64_t past : {0, 250}) {
        Check({.query_tokens = queries,
               .key_tokens = past + queries,
               .heads = 4,
               .kv_heads = 2,
               .head_dim = 12,
               .window = window});
      }
    }
  }
}

TEST(Attention, BothWays) {
  for (const int64_t tokens : {1, 3, 5, 64, 130, 300}) {
    Check({.sequences = 2,
           .query_tokens = tokens,
           .key_tokens = tokens,
           .heads = 4,
           .kv_heads = 2,
           .head_dim = 12,
           .causal = false});
  }
}

TEST(Attention, ValuesOfAnotherWidth) {
  for (const int64_t value_dim : {1, 4, 20, 33}) {
    for (const int64_t queries : {2, 150}) {
      Check({.query_tokens = queries,
             .key_tokens = 40 + queries,
             .heads = 4,
             .kv_heads = 2,
             .head_dim = 20,
             .value_dim = value_dim});
    }
  }
}

TEST(Attention, Softcap) {
  for (const float cap : {0.5f, 2.0f, 50.0f}) {
    for (const int64_t queries : {2, 150}) {
      Check({.query_tokens = queries,
             .key_tokens = 140 + queries,
             .heads = 2,
             .kv_heads = 2,
             .head_dim = 16,
             .window = 100,
             .softcap = cap},
            3.0f);
    }
  }
}

TEST(Attention, BiasOfKeys) {
  const std::vector<float> bias = Random(6 * 500, 11);
  for (const int64_t queries : {2, 30, 150}) {
    Check({.query_tokens = queries,
           .key_tokens = 140 + queries,
           .heads = 6,
           .kv_heads = 2,
           .head_dim = 16,
           .key_bias = bias.data(),
           .key_bias_stride = 500});
  }
}

TEST(Attention, EveryInstructionSet) {
  const AttentionShape shape{.query_tokens = 150,
                             .key_tokens = 400,
                             .key_stride = 400,
                             .heads = 6,
                             .kv_heads = 3,
                             .head_dim = 64,
                             .scale = 0.125f};
  const Inputs inputs = MakeInputs(shape, 9);
  const std::vector<float> best = Attend(*MakeCpuBackend(1), shape, inputs);
  const std::vector<float> portable = Attend(*MakeCpuBackend(2, "portable"), shape, inputs);
  for (size_t i = 0; i < best.size(); ++i) ASSERT_NEAR(best[i], portable[i], 2e-6);
  for (const int64_t queries : {2, 150}) {
    AttentionShape some = shape;
    some.query_tokens = queries;
    for (const char* isa : {"portable", "avx2", "avx512"}) {
      std::unique_ptr<Backend> backend;
      try {
        backend = MakeCpuBackend(2, isa);
      } catch (const Error&) {
        continue;  // not this processor's
      }
      for (const DType type : {DType::kF16, DType::kI8}) {
        Inputs rounded = MakeInputs(some, 10);
        const std::vector<float> out = AttendStored(*backend, some, type, rounded);
        ExpectNearTwin(out, some, rounded, 1.0f);
      }
    }
  }
}

TEST(Attention, ScoresFarApart) {
  Check({.query_tokens = 140, .key_tokens = 700, .heads = 2, .kv_heads = 2, .head_dim = 16}, 6.0f);
}

TEST(Attention, HugeScoresDoNotOverflow) {
  AttentionShape shape{
      .query_tokens = 2, .key_tokens = 600, .key_stride = 600, .heads = 1, .kv_heads = 1, .head_dim = 4};
  shape.scale = 1e4f;
  const Inputs inputs = MakeInputs(shape, 5);
  const std::vector<double> twin = plain::Attention(shape, inputs.query, inputs.keys, inputs.values);
  const std::vector<float> out = Attend(*MakeCpuBackend(1), shape, inputs);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], twin[i], 1e-2);
}

TEST(Attention, RepeatedRunsGiveTheSameBytes) {
  const AttentionShape shape{.sequences = 2,
                             .query_tokens = 300,
                             .key_tokens = 600,
                             .key_stride = 600,
                             .heads = 6,
                             .kv_heads = 3,
                             .head_dim = 64,
                             .scale = 0.125f};
  const Inputs inputs = MakeInputs(shape, 7);
  const std::vector<float> first = Attend(*MakeCpuBackend(1), shape, inputs);
  const auto backend = MakeCpuBackend(3);
  for (int repeat = 0; repeat < 20; ++repeat) ASSERT_EQ(Attend(*backend, shape, inputs), first);
}

}  // namespace attention_test
}  // namespace gptq
