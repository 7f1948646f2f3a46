// Damaged tokenizer files: an Error or a tokenizer, never a crash (meant for the sanitizers).
#include <random>

#include "tests/text/tokenizer_fixtures.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace hostile_test {

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
std::string MakeSmallJson() {
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

const std::string& SmallJson() {
  static const std::string json = MakeSmallJson();
  return json;
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

TEST(Hostile, DeepJson) {
  const auto nested = [](const std::string& open, const std::string& close, int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += open;
    text += "null";
    for (int i = 0; i < depth; ++i) text += close;
    return text;
  };
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair(R"({"a":)", "}"),
                                    std::pair(R"({"type":"Sequence","normalizers":[)", "]}")}) {
    for (const int depth : {10, 150, 100'000, 1'000'000}) {
      const std::string text = R"({"normalizer":)" + nested(open, close, depth) + "," + SmallJson().substr(1);
      SurvivesJson(text);
      if (depth > 1000) EXPECT_ERROR(ParseJson(text, "json"), "nested deeper");
      SurvivesJson(nested(open, "", depth));
    }
  }
  Json file = ParseJson(SmallJson(), "json");
  for (int depth = 0; depth < 60; ++depth)
    file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {file["pre_tokenizer"]}}};
  EXPECT_TRUE(SurvivesJson(Dump(file)));
}

// Merges that give what they are made of, each other's parts, or nothing.
TEST(Hostile, MergesWithCycles) {
  Json file = ParseJson(SmallJson(), "json");
  Json& model = file["model"];
  model["vocab"][""] = 402;
  for (const Json& merges :
       {Json{{"", "a"}, {"a", ""}}, Json{{"", ""}}, Json{{"a", "a"}, {"a", "a"}},
        Json{{"a", "b"}, {"ab", "ab"}, {"b", "a"}}, Json{{"a"}}, Json{{"a", "b", "c"}}}) {
    model["merges"] = merges;
    SurvivesJson(Dump(file));
  }
  for (const char* merge : {" a", "a ", " ", "", "a  b"}) {
    model["merges"] = {merge};
    SurvivesJson(Dump(file));
  }
  // A long text of one letter merges to its end, whatever the order.
  model["vocab"] = Json::object();
  model["merges"] = Json::array();
  std::string token = "a";
  for (int id = 0; id < 11; ++id, token += token) {
    model["vocab"][token] = id;
    model["merges"].push_back({token, token});
  }
  file["added_tokens"] = Json::array();
  file.erase("post_processor");
  model["vocab"][token] = 11;
  const Tokenizer tokenizer(PartsFromTokenizerJson(file, "json"), "json");
  EXPECT_EQ(tokenizer.Encode(std::string(1 << 18, 'a')), std::vector<int32_t>(1 << 7, 11));
}

TEST(Hostile, IdsOutOfRange) {
  for (const Json& id : {Json(-1), Json(INT64_MIN), Json(uint64_t{1} << 63), Json(int64_t{1} << 32),
                         Json(INT32_MAX), Json(1e18), Json(3), Json(1'000'000'000)}) {
    SCOPED_TRACE(Dump(id));
    for (const char* place : {"/model/vocab/a", "/added_tokens/0/id", "/added_tokens/1/id",
                              "/post_processor/special_tokens/<s>/ids/0"}) {
      Json file = ParseJson(SmallJson(), "json");
      file[Json::json_pointer(place)] = id;
      SurvivesJson(Dump(file));
    }
  }
  const Tokenizer tokenizer(PartsFromTokenizerJson(ParseJson(SmallJson(), "json"), "json"), "json");
  for (const int32_t id : {-1, 402, 1'000'000, INT32_MIN, INT32_MAX})
    Survives([&] {
      tokenizer.Decode(std::vector<int32_t>{id});
      return Tokenizer(PartsFromTokenizerJson(ParseJson(SmallJson(), "json"), "json"), "json");
    });
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

}  // namespace hostile_test
}  // namespace gptq
