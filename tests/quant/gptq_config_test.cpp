#include "quant/gptq_config.h"

#include "quant/quantization_config.h"
#include "tests/test_util.h"

namespace gptq {
namespace gptq_config_test {

Json Minimal() { return {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}}; }

TEST(QuantizationConfig, ComesBackAsWritten) {
  QuantizationConfig config;
  config.settings = {3, -1, false, WeightFormat::kGptqV2};
  config.activation_order = true;
  config.static_groups = true;
  config.damping = 0.02;
  config.quantizer = "gptq.cpp:1.2.3";
  const Json json = ToJson(config);
  EXPECT_EQ(json["checkpoint_format"], "gptq_v2");
  EXPECT_EQ(json["pack_dtype"], "int32");
  EXPECT_EQ(json["lm_head"], false);
  EXPECT_EQ(json["damp_percent"], 0.02);
  EXPECT_EQ(json["meta"]["quantizer"][0], "gptq.cpp:1.2.3");
  EXPECT_FALSE(json.contains("dynamic"));
  const QuantizationConfig read = ParseQuantizationConfig(json, "test");
  EXPECT_EQ(read.settings, config.settings);
  EXPECT_TRUE(read.activation_order);
  EXPECT_TRUE(read.static_groups);
  EXPECT_EQ(read.damping, config.damping);
  EXPECT_EQ(read.quantizer, config.quantizer);
}

TEST(QuantizationConfig, LeavesOutADampingThatTransformersRefuses) {
  QuantizationConfig config;
  for (const double damping : {0.0, 1.0}) {
    config.damping = damping;
    EXPECT_FALSE(ToJson(config).contains("damp_percent"));
  }
}

TEST(QuantizationConfig, OverridesNameModulesExactly) {
  QuantizationConfig config;
  const LinearSettings eight{8, 32, true, WeightFormat::kGptq};
  const std::string attention = "model.layers.1.self_attn.", mlp = "model.layers.1.mlp.";
  EXPECT_TRUE(AddOverrides({{attention + "q_proj", eight},
                            {attention + "k_proj", eight},
                            {attention + "v_proj", eight},
                            {attention + "o_proj", config.settings},
                            {"lm.head", std::nullopt}},
                           config)
                  .empty());
  EXPECT_EQ(config.overrides.size(), 5u);  // q, k, v, their merged name, the head
  EXPECT_EQ(AddOverrides({{mlp + "gate_proj", std::nullopt}}, config).size(), 1u);  // up_proj differs

  const QuantizationConfig read = ParseQuantizationConfig(ToJson(config), "test");
  for (const char* part : {"q_proj", "k_proj", "v_proj", "qkv_proj"}) {
    EXPECT_EQ(SettingsOf(read, attention + part), eight) << part;
  }
  EXPECT_EQ(SettingsOf(read, attention + "o_proj"), config.settings);
  EXPECT_EQ(SettingsOf(read, "model.layers.11.self_attn.q_proj"), config.settings);
  EXPECT_EQ(SettingsOf(read, "lm.head"), std::nullopt);
  EXPECT_EQ(SettingsOf(read, "lmxhead"), config.settings);
  EXPECT_EQ(SettingsOf(read, mlp + "gate_proj"), std::nullopt);
  EXPECT_EQ(SettingsOf(read, mlp + "up_proj"), config.settings);
}

TEST(QuantizationConfig, ReadsOverridesOfOthers) {
  Json json = Minimal();
  json["dynamic"] = {{R"(+:.*\.18\..*gate.*)", {{"bits", 8}, {"group_size", 64}}},
                     {R"(.*\.19\..*)", {{"sym", false}}},
                     {R"(-:.*\.20\..*)", Json::object()}};
  const QuantizationConfig config = ParseQuantizationConfig(json, "test");
  EXPECT_EQ(SettingsOf(config, "model.layers.18.mlp.gate_proj")->bits, 8);
  EXPECT_EQ(SettingsOf(config, "model.layers.18.mlp.gate_proj")->group_size, 64);
  EXPECT_EQ(SettingsOf(config, "model.layers.18.mlp.up_proj")->bits, 4);
  EXPECT_FALSE(SettingsOf(config, "model.layers.19.mlp.up_proj")->symmetric);
  EXPECT_EQ(SettingsOf(config, "model.layers.20.mlp.up_proj"), std::nullopt);
}

TEST(QuantizationConfig, RefusesWhatItCannotRead) {
  const auto parse = [](std::string_view key, const Json& value) {
    Json json = Minimal();
    json[std::string(key)] = value;
    ParseQuantizationConfig(json, "folder/config.json");
  };
  EXPECT_ERROR(ParseQuantizationConfig(Json::array(), "folder/config.json"), "folder/config.json");
  EXPECT_ERROR(ParseQuantizationConfig(Json::object(), "folder/config.json"), "bits");
  EXPECT_ERROR(parse("quant_method", "awq"), "awq");
  EXPECT_ERROR(parse("bits", 9), "bits");
  EXPECT_ERROR(parse("bits", "4"), "bits");
  EXPECT_ERROR(parse("bits", 4.5), "bits");
  EXPECT_ERROR(parse("bits", uint64_t{1} << 63), "bits");
  EXPECT_ERROR(parse("group_size", 0), "group_size");
  EXPECT_ERROR(parse("group_size", int64_t{1} << 40), "group_size");
  EXPECT_ERROR(parse("group_size", -2), "group_size");
  EXPECT_ERROR(parse("sym", 1), "sym");
  EXPECT_ERROR(parse("checkpoint_format", "marlin"), "marlin");
  EXPECT_ERROR(parse("is_marlin_format", true), "is_marlin_format");
  EXPECT_ERROR(parse("pack_dtype", "int16"), "pack_dtype");
  EXPECT_ERROR(parse("dynamic", Json::array()), "dynamic");
  EXPECT_ERROR(parse("dynamic", Json{{"+:(", Json::object()}}), "regular expression");
  EXPECT_ERROR(parse("dynamic", Json{{"+:a", 3}}), "+:a");
}

TEST(QuantizationConfig, WarnsOfSettingsThatReadersRefuse) {
  QuantizationConfig config;
  EXPECT_TRUE(SettingWarnings(config).empty());
  config.settings = {3, 96, false, WeightFormat::kGptqV2};
  EXPECT_EQ(SettingWarnings(config).size(), 4u);
}

}  // namespace gptq_config_test
}  // namespace gptq
