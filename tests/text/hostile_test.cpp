// Damaged tokenizer files: an Error or a tokenizer, never a crash (meant for the sanitizers).
#include <random>

#include "tests/text/tokenizer_fixtures.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace {

const char* const kText = "Hello  world, don't! \u00E9\u4E00\U0001F642 <s>123</s>\n";

// Loads and uses what can be loaded; whatever else comes must be an Error.
template <typename Load>
bool Survives(Load load) {
  try {
    const Tokenizer tokenizer = load();
    const std::vector<int32_t> ids = tokenizer.EncodeWithSpecialTokens(kText);
    tokenizer.Decode(ids);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool SurvivesModel(const std::string& bytes) {
  return Survives([&] {
    return Tokenizer(PartsFromSentencePiece(ParseSentencePieceModel(bytes, "model"), "model"), "model");
  });
}

bool SurvivesJson(const std::string& text) {
  return Survives([&] { return Tokenizer(PartsFromTokenizerJson(ParseJson(text, "json"), "json"), "json"); });
}

std::string Flipped(std::string bytes, std::mt19937& random) {
  for (uint32_t flips = 1 + random() % 8; flips > 0; --flips) {
    char& byte = bytes[random() % bytes.size()];
    byte = static_cast<char>(byte ^ (1 << random() % 8));
  }
  return bytes;
}

TEST(Hostile, SentencePieceModels) {
  const std::string good = ReadTextFile(TokenizerData("stories260k/tokenizer.model"));
  ASSERT_TRUE(SurvivesModel(good));
  for (size_t size = 0; size < good.size(); size += 7) SurvivesModel(good.substr(0, size));
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) SurvivesModel(Flipped(good, random));
}

// A byte-level tokenizer of some hundred tokens with every part that a file can have.
std::string SmallJson() {
  Json file = ReadJsonFile(TokenizerData("gpt2/tokenizer.json"));
  Json& model = file["model"];
  Json vocabulary = Json::object();
  for (const auto& [token, id] : model["vocab"].items()) {
    if (id < 400) vocabulary[token] = id;
  }
  model["vocab"] = vocabulary;
  Json merges = Json::array();
  for (size_t i = 0; i < 400 - 256; ++i) merges.push_back(model["merges"][i]);
  model["merges"] = merges;
  file["added_tokens"] = {
      {{"id", 400}, {"content", "<s>"}, {"special", true}, {"normalized", false}, {"lstrip", true}},
      {{"id", 401}, {"content", "123"}, {"special", false}, {"normalized", true}, {"single_word", true}}};
  file["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       {{{"type", "NFKC"}}, {{"type", "Replace"}, {"pattern", {{"Regex", " +"}}}, {"content", " "}}}}};
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"},
         {"pattern", {{"Regex", R"(\p{N}{1,3}|[^\r\n\p{L}\p{N}]?\p{L}+|\s+(?!\S)|\s+)"}}},
         {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"use_regex", false}}}}};
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {400}}}}}}};
  return Dump(file);
}

TEST(Hostile, TokenizerJson) {
  const std::string good = SmallJson();
  ASSERT_TRUE(SurvivesJson(good));
  for (size_t size = 0; size < good.size(); size += 13) EXPECT_FALSE(SurvivesJson(good.substr(0, size)));
  std::mt19937 random(4);
  for (int round = 0; round < 2000; ++round) SurvivesJson(Flipped(good, random));
}

// Every value of the file, one at a time, replaced by something of another kind.
void ReplaceEach(const Json& file, const Json& node, const Json::json_pointer& at) {
  for (const Json& odd : {Json(), Json(-1), Json(1e300), Json("\u0120"), Json::array({Json::array()}),
                          Json::object(), Json(true)}) {
    Json changed = file;
    changed[at] = odd;
    SurvivesJson(Dump(changed));
  }
  if (node.is_object() && node.size() < 50) {
    for (const auto& [key, child] : node.items()) ReplaceEach(file, child, at / key);
  } else if (node.is_array()) {
    for (size_t i = 0; i < std::min<size_t>(node.size(), 4); ++i) ReplaceEach(file, node[i], at / i);
  }
}

TEST(Hostile, TokenizerJsonOfWrongTypes) {
  const Json file = ParseJson(SmallJson(), "json");
  ReplaceEach(file, file, Json::json_pointer());
}

TEST(Hostile, GgufVocabularies) {
  const GgufVocabulary good = ReadGgufVocabulary(TokenizerData("gguf/stories260k.gguf"));
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    GgufVocabulary bad = good;
    const auto any = [&](size_t size) { return random() % static_cast<uint32_t>(size); };
    bad.tokens[any(bad.tokens.size())] = std::string(random() % 5, static_cast<char>(random()));
    bad.token_types[any(bad.token_types.size())] = static_cast<int32_t>(random() % 9) - 1;
    bad.scores[any(bad.scores.size())] = std::bit_cast<float>(static_cast<uint32_t>(random()));
    bad.bos = static_cast<int64_t>(random()) - 100;
    bad.eos = INT64_MIN + static_cast<int64_t>(random());
    bad.add_eos = true;
    if (random() % 4 == 0)
      bad.model = "gpt2", bad.pre = "qwen2", bad.merges = {"a b", " ", "", "  ", "\xFF \xFE"};
    Survives([&] { return TokenizerFromGguf(bad, "gguf"); });
  }
}

}  // namespace
}  // namespace gptq
