#include "model/rotary.h"

#include <cmath>

#include "tests/test_util.h"

namespace gptq {
namespace {

TEST(Rotary, PlainFrequencies) {
  const RotarySpec spec = ReadRotarySpec({{"rope_theta", 500.0}}, 10000, 8, 64, "config.json");
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
  const RotarySpec old_keys =
      ReadRotarySpec({{"rope_theta", 500000.0}, {"rope_scaling", scaling}}, 1, 16, 256, "c");
  const RotarySpec new_keys = ReadRotarySpec({{"rope_parameters", parameters}}, 1, 16, 256, "c");
  EXPECT_EQ(RotaryFrequencies(old_keys), RotaryFrequencies(new_keys));
}

TEST(Rotary, LinearDividesEveryFrequency) {
  const RotarySpec plain = ReadRotarySpec(Json::object(), 10000, 16, 64, "c");
  const RotarySpec linear =
      ReadRotarySpec({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}}, 10000, 16, 64, "c");
  for (size_t i = 0; i < 8; ++i)
    EXPECT_DOUBLE_EQ(RotaryFrequencies(linear)[i], RotaryFrequencies(plain)[i] / 4);
}

TEST(Rotary, Llama3KeepsFastAndStretchesSlowDimensions) {
  const Json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  const RotarySpec plain = ReadRotarySpec({{"rope_theta", 500000.0}}, 1, 128, 8192, "c");
  const RotarySpec scaled =
      ReadRotarySpec({{"rope_theta", 500000.0}, {"rope_scaling", scaling}}, 1, 128, 8192, "c");
  const auto a = RotaryFrequencies(plain), b = RotaryFrequencies(scaled);
  EXPECT_DOUBLE_EQ(b.front(), a.front());
  EXPECT_DOUBLE_EQ(b.back(), a.back() / 8);
}

TEST(Rotary, YarnAttentionFactor) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  EXPECT_NEAR(ReadRotarySpec({{"rope_scaling", yarn}}, 10000, 16, 128, "c").attention_factor,
              0.1 * std::log(4.0) + 1, 1e-12);
  Json given = yarn;
  given["attention_factor"] = 1.5;
  EXPECT_DOUBLE_EQ(ReadRotarySpec({{"rope_scaling", given}}, 10000, 16, 128, "c").attention_factor, 1.5);
}

TEST(Rotary, StrangeValuesAreErrors) {
  for (const Json& scaling :
       {Json{{"rope_type", "spiral"}}, Json{{"rope_type", 7}}, Json{{"rope_type", "linear"}, {"factor", 0}},
        Json{{"rope_type", "yarn"}, {"factor", "x"}},
        Json{{"rope_type", "llama3"}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}) {
    EXPECT_ERROR(ReadRotarySpec({{"rope_scaling", scaling}}, 10000, 16, 128, "config.json"), "config.json");
  }
}

}  // namespace
}  // namespace gptq
