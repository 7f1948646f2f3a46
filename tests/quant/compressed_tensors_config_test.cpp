#include "quant/compressed_tensors_config.h"

#include "tests/test_util.h"

namespace gptq {
namespace compressed_tensors_config_test {

constexpr WeightFormat kFormat = WeightFormat::kCompressedTensors;

Json Minimal() {
  return Json::parse(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null,
      "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 128}}},
    "ignore": ["lm_head"]})");
}

TEST(CompressedTensorsConfig, ComesBackAsWritten) {
  QuantizationConfig config;
  config.settings = {3, 64, false, kFormat};
  const LinearSettings eight{8, -1, true, kFormat};
  EXPECT_TRUE(AddOverrides({{"model.layers.1.mlp.gate_proj", eight},
                            {"model.layers.1.mlp.up_proj", eight},
                            {"model.layers.2.mlp.down_proj", std::nullopt}},
                           config)
                  .empty());
  const Json json = ToJson(config);
  EXPECT_EQ(json["format"], "pack-quantized");
  EXPECT_EQ(json["ignore"], (Json{"lm_head", "model.layers.2.mlp.down_proj"}));
  EXPECT_EQ(json["config_groups"]["group_0"]["targets"], Json{"Linear"});
  EXPECT_EQ(json["config_groups"]["group_0"]["weights"]["num_bits"], 3);
  EXPECT_EQ(json["config_groups"]["group_1"]["targets"],
            (Json{"model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj"}));
  EXPECT_EQ(json["config_groups"]["group_1"]["weights"]["strategy"], "channel");
  EXPECT_TRUE(json["config_groups"]["group_1"]["weights"]["group_size"].is_null());

  const QuantizationConfig read = ParseQuantizationConfig(json, "test");
  EXPECT_EQ(SettingsOf(read, "model.layers.0.mlp.up_proj"), config.settings);
  EXPECT_EQ(SettingsOf(read, "model.layers.1.mlp.up_proj"), eight);
  EXPECT_EQ(SettingsOf(read, "model.layers.2.mlp.down_proj"), std::nullopt);
  EXPECT_EQ(SettingsOf(read, "lm_head"), std::nullopt);
  EXPECT_EQ(ToJson(read), json);
}

TEST(CompressedTensorsConfig, ReadsTargetsOfOthers) {
  Json json = Minimal();
  json["config_groups"]["group_0"]["targets"] = {"re:.*self_attn\\.[qkv]_proj$",
                                                 "model.layers.0.mlp.up_proj"};
  json["ignore"] = {"re:.*layers\\.3\\..*"};
  const QuantizationConfig config = ParseQuantizationConfig(json, "test");
  EXPECT_EQ(SettingsOf(config, "model.layers.1.self_attn.k_proj"), (LinearSettings{4, 128, true, kFormat}));
  EXPECT_EQ(SettingsOf(config, "model.layers.0.mlp.up_proj"), (LinearSettings{4, 128, true, kFormat}));
  EXPECT_EQ(SettingsOf(config, "model.layers.1.mlp.up_proj"), std::nullopt);
  EXPECT_EQ(SettingsOf(config, "model.layers.3.self_attn.k_proj"), std::nullopt);
  EXPECT_EQ(SettingsOf(config, "model.layers.1.self_attn.o_proj"), std::nullopt);
}

TEST(CompressedTensorsConfig, RefusesWhatItCannotRead) {
  const auto refuses = [](const char* patch, const char* says) {
    Json json = Minimal();
    json.merge_patch(Json::parse(patch));
    EXPECT_ERROR(ParseQuantizationConfig(json, "folder/config.json"), says);
    EXPECT_ERROR(ParseQuantizationConfig(json, "folder/config.json"), "folder/config.json");
  };
  const auto weights = [](const std::string& text) {
    return R"({"config_groups": {"group_0": {"weights": )" + text + "}}}";
  };
  refuses(R"({"format": "float-quantized"})", "float-quantized");
  refuses(R"({"quantization_status": "frozen"})", "frozen");
  refuses(R"({"config_groups": null})", "config_groups");
  refuses(R"({"config_groups": {"group_0": 3}})", "config_groups");
  refuses(R"({"config_groups": {"group_0": {"targets": [3]}}})", "targets");
  refuses(R"({"config_groups": {"group_0": {"targets": ["re:("]}}})", "regular expression");
  refuses(R"({"config_groups": {"group_0": {"input_activations": {"num_bits": 8}}}})", "input_activations");
  refuses(R"({"config_groups": {"group_0": {"format": "nvfp4-pack-quantized"}}})", "nvfp4");
  refuses(weights("7").c_str(), "weights");
  refuses(weights(R"({"num_bits": 9})").c_str(), "num_bits");
  refuses(weights(R"({"type": "float"})").c_str(), "float");
  refuses(weights(R"({"strategy": "block"})").c_str(), "block");
  refuses(weights(R"({"group_size": 0})").c_str(), "group_size");
  refuses(weights(R"({"symmetric": 1})").c_str(), "symmetric");
  refuses(R"({"ignore": "lm_head"})", "ignore");
  refuses(R"({"quant_method": "awq"})", "awq");
}

}  // namespace compressed_tensors_config_test
}  // namespace gptq
