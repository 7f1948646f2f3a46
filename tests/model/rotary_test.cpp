#include "model/rotary.h"

#include <cmath>

#include "tests/test_util.h"

namespace gptq {
namespace rotary_test {

RotarySpec Read(const Json& scaling, double base, int64_t dimensions, double max_positions) {
  return ReadRotarySpec({base, scaling, dimensions, max_positions, max_positions, "config.json"});
}

TEST(Rotary, PlainFrequencies) {
  const RotarySpec spec = Read({{"rope_theta", 500.0}}, 10000, 8, 64);
  const std::vector<double> frequencies = RotaryFrequencies(spec);
  ASSERT_EQ(frequencies.size(), 4u);
  for (int i = 0; i < 4; ++i)
    EXPECT_NEAR(frequencies[static_cast<size_t>(i)], std::pow(500.0, -i / 4.0), 1e-12);
  const RotaryTable table = MakeRotaryTable(spec, 3);
  EXPECT_FLOAT_EQ(table.cosine[2 * 4 + 1], static_cast<float>(std::cos(2 * frequencies[1])));
  EXPECT_FLOAT_EQ(table.sine[2 * 4 + 1], static_cast<float>(std::sin(2 * frequencies[1])));
}

TEST(Rotary, NewAndOldKeysMeanTheSame) {
  const Json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64}};
  Json parameters = scaling;
  parameters["rope_theta"] = 500000.0;
  const RotarySpec old_keys = Read(scaling, 500000.0, 16, 256);
  const RotarySpec new_keys = Read(parameters, 1, 16, 256);
  EXPECT_EQ(RotaryFrequencies(old_keys), RotaryFrequencies(new_keys));
}

TEST(Rotary, LinearDividesEveryFrequency) {
  const RotarySpec plain = Read(Json(), 10000, 16, 64);
  const RotarySpec linear = Read({{"type", "linear"}, {"factor", 4.0}}, 10000, 16, 64);
  for (size_t i = 0; i < 8; ++i)
    EXPECT_DOUBLE_EQ(RotaryFrequencies(linear)[i], RotaryFrequencies(plain)[i] / 4);
}

TEST(Rotary, Llama3KeepsFastAndStretchesSlowDimensions) {
  const Json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  const RotarySpec plain = Read(Json(), 500000.0, 128, 8192);
  const RotarySpec scaled = Read(scaling, 500000.0, 128, 8192);
  const auto a = RotaryFrequencies(plain), b = RotaryFrequencies(scaled);
  EXPECT_DOUBLE_EQ(b.front(), a.front());
  EXPECT_DOUBLE_EQ(b.back(), a.back() / 8);
}

TEST(Rotary, YarnAttentionFactor) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  EXPECT_NEAR(Read(yarn, 10000, 16, 128).attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  Json given = yarn;
  given["attention_factor"] = 1.5;
  EXPECT_DOUBLE_EQ(Read(given, 10000, 16, 128).attention_factor, 1.5);
}

TEST(Rotary, StrangeValuesAreErrors) {
  for (const Json& scaling :
       {Json{{"rope_type", "spiral"}}, Json{{"rope_type", 7}}, Json{{"rope_type", "linear"}, {"factor", 0}},
        Json{{"rope_type", "yarn"}, {"factor", "x"}},
        Json{{"rope_type", "llama3"}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}) {
    EXPECT_ERROR(Read(scaling, 10000, 16, 128), "config.json");
  }
}

}  // namespace rotary_test
}  // namespace gptq
