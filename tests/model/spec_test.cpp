#include "model/spec.h"

#include "tests/test_util.h"

namespace gptq {
namespace spec_test {

Json LlamaConfig() {
  return {{"model_type", "llama"},  {"hidden_size", 64},        {"intermediate_size", 172},
          {"num_hidden_layers", 5}, {"num_attention_heads", 8}, {"vocab_size", 512},
          {"rms_norm_eps", 1e-5},   {"hidden_act", "silu"},     {"num_key_value_heads", 4},
          {"rope_theta", 10000.0}};
}

ModelSpec Build(const Json& config) {
  return BuildSpec(ArchitectureForModelType(config.at("model_type").get<std::string>(), "config.json"),
                   config, "config.json");
}

TEST(ModelSpec, FillsInEveryNumber) {
  Json config = LlamaConfig();
  const ModelSpec spec = Build(config);
  EXPECT_EQ(spec.head_dim, 8);
  EXPECT_EQ(spec.kv_width(), 32);
  EXPECT_EQ(spec.embedding_width, 64);
  EXPECT_EQ(spec.max_positions, 2048);
  EXPECT_FALSE(spec.tied_head);
  EXPECT_EQ(spec.Name("query", 3), "model.layers.3.self_attn.q_proj");
  EXPECT_EQ(spec.Name("embedding"), "model.embed_tokens");
  config.erase("num_key_value_heads");
  EXPECT_EQ(Build(config).kv_heads, 8);
  config["head_dim"] = 24;
  EXPECT_EQ(Build(config).query_width(), 192);
}

TEST(ModelSpec, RefusesAbsurdConfigs) {
  const std::vector<std::pair<std::string, Json>> changes = {
      {"hidden_size", 0},
      {"hidden_size", -64},
      {"hidden_size", 1e30},
      {"hidden_size", "64"},
      {"hidden_size", nullptr},
      {"num_hidden_layers", 0},
      {"num_hidden_layers", 1e9},
      {"num_attention_heads", 7},
      {"num_key_value_heads", 3},
      {"num_key_value_heads", 0},
      {"vocab_size", int64_t{1} << 40},
      {"rms_norm_eps", -1},
      {"rms_norm_eps", "x"},
      {"hidden_act", "mish"},
      {"hidden_act", 3},
      {"rope_theta", 0},
      {"rope_theta", "big"},
      {"head_dim", 7},
      {"tie_word_embeddings", "no"},
      {"max_position_embeddings", 0},
      {"rope_scaling", {{"rope_type", "unheard-of"}}},
      {"rope_scaling", {{"rope_type", "linear"}, {"factor", -2}}},
      {"rope_scaling", "linear"}};
  for (const auto& [key, value] : changes) {
    Json config = LlamaConfig();
    config[key] = value;
    EXPECT_ERROR(Build(config), "config.json");
  }
  EXPECT_ERROR(BuildSpec(ArchitectureForModelType("llama", "x"), Json::array(), "config.json"),
               "not a JSON object");
}

TEST(ModelSpec, ValuesThatChangeTheResultAreNotIgnored) {
  Json config = {{"model_type", "opt"},          {"hidden_size", 64},        {"ffn_dim", 128},
                 {"num_hidden_layers", 2},       {"num_attention_heads", 4}, {"vocab_size", 100},
                 {"max_position_embeddings", 64}};
  EXPECT_EQ(Build(config).block, BlockShape::kPreNorm);
  EXPECT_TRUE(Build(config).tied_head);
  config["do_layer_norm_before"] = false;
  EXPECT_EQ(Build(config).block, BlockShape::kPostNorm);
  config["do_layer_norm_before"] = "sometimes";
  EXPECT_ERROR(Build(config), "do_layer_norm_before");
  config["do_layer_norm_before"] = true;
  config["_remove_final_layer_norm"] = true;
  EXPECT_ERROR(Build(config), "_remove_final_layer_norm");
}

TEST(Architecture, UnknownOnesAreNamedWithTheKnown) {
  EXPECT_ERROR(ArchitectureForModelType("martian", "config.json"), "llama");
  EXPECT_ERROR(ArchitectureForGguf("martian", Json(), "a.gguf"), "llama");
}

TEST(Architecture, DamagedFilesAreErrors) {
  for (const char* text :
       {"", "[]", "{}", "{\"name\": 3}", "{\"name\": \"x\", \"model_types\": \"x\"}",
        "{\"name\": \"x\", \"model_types\": [], \"fields\": {\"a\": {}}, \"tensors\": {}}"}) {
    EXPECT_ERROR(ParseArchitecture(text, "x.json"), "x.json");
  }
}

TEST(Architecture, EveryEmbeddedFileParses) {
  for (const EmbeddedArchitecture& file : EmbeddedArchitectures()) {
    const Architecture architecture = ParseArchitecture(file.text, file.name);
    EXPECT_FALSE(architecture.model_types.empty()) << file.name;
  }
}

}  // namespace spec_test
}  // namespace gptq
