// Golden cases and tokenizers of the test data.
#pragma once

#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/gguf.h"
#include "tests/test_util.h"
#include "tests/text/sha256.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer_files.h"

namespace gptq {

inline std::filesystem::path TokenizerData(const std::string& name) { return TestData("tokenizers/" + name); }

inline std::vector<Json> GoldenCases(const std::string& name) {
  std::istringstream lines(ReadTextFile(TokenizerData("golden/" + name + ".jsonl")));
  std::vector<Json> cases;
  for (std::string line; std::getline(lines, line);) cases.push_back(ParseJson(line, name));
  return cases;
}

inline std::vector<int32_t> Ids(const Json& list) { return list.get<std::vector<int32_t>>(); }

inline std::string HashOfIds(const std::vector<int32_t>& ids) {
  std::vector<uint8_t> bytes;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<uint8_t>(static_cast<uint32_t>(id) >> shift));
  }
  return Sha256Hex(std::move(bytes));
}

inline const std::string& WikiText() {
  static const std::string text = ReadTextFile(TestData("text/wikitext2-test.txt"));
  return text;
}

inline GgufVocabulary ReadGgufVocabulary(const std::filesystem::path& path) {
  const GgufFile file = GgufFile::Open(path);
  GgufVocabulary v;
  v.model = file.String("tokenizer.ggml.model");
  v.pre = file.FindString("tokenizer.ggml.pre").value_or("");
  v.tokens = file.Strings("tokenizer.ggml.tokens");
  v.scores = file.FindFloats("tokenizer.ggml.scores").value_or(std::vector<float>());
  for (const int64_t type : file.FindIntegers("tokenizer.ggml.token_type").value_or(std::vector<int64_t>())) {
    v.token_types.push_back(static_cast<int32_t>(type));
  }
  if (const auto* merges = file.FindStrings("tokenizer.ggml.merges")) v.merges = *merges;
  v.bos = file.FindInteger("tokenizer.ggml.bos_token_id");
  v.eos = file.FindInteger("tokenizer.ggml.eos_token_id");
  v.pad = file.FindInteger("tokenizer.ggml.padding_token_id");
  v.unknown = file.FindInteger("tokenizer.ggml.unknown_token_id");
  v.separator = file.FindInteger("tokenizer.ggml.seperator_token_id");
  v.add_bos = file.FindBool("tokenizer.ggml.add_bos_token");
  v.add_eos = file.FindBool("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.FindBool("tokenizer.ggml.add_space_prefix");
  v.remove_extra_spaces = file.FindBool("tokenizer.ggml.remove_extra_whitespaces");
  v.chat_template = file.FindString("tokenizer.chat_template");
  v.architecture = file.FindString("general.architecture").value_or("");
  return v;
}

// A map of "A" to "a" alone, as darts-clone lays it out.
inline std::string MapOfA() {
  std::vector<uint32_t> units(0x342, 0);
  units[0] = 0x100u << 10;
  units[0x100 ^ 'A'] = (0x200u << 10) | 0x100 | 'A';
  units[0x300 ^ 'A'] = 0x80000000;
  const auto bytes = static_cast<uint32_t>(units.size() * 4);
  return std::string(reinterpret_cast<const char*>(&bytes), 4) +
         std::string(reinterpret_cast<const char*>(units.data()), bytes) + std::string("a\0", 2);
}

// Of tests/data/tokenizers/gguf, or of the archive there.
inline Tokenizer LoadGgufTokenizer(const std::string& name) {
  std::filesystem::path path = TokenizerData("gguf/" + name);
  if (!std::filesystem::exists(path)) path = std::filesystem::path(GPTQ_UNPACKED_DATA) / name;
  return TokenizerFromGguf(ReadGgufVocabulary(path), path.string());
}

// A golden file against a tokenizer: ids, ids with special tokens, decoded text.
inline void ExpectGolden(const Tokenizer& tokenizer, const std::string& name) {
  for (const Json& golden : GoldenCases(name)) {
    SCOPED_TRACE(name + ": " + golden["name"].get<std::string>());
    const std::string text = golden["text"].get<std::string>();
    const bool reconstructed = golden.contains("ids_reconstructed_hf");
    const std::vector<int32_t> ids = Ids(golden[reconstructed ? "ids_reconstructed_hf" : "ids"]);
    EXPECT_EQ(tokenizer.Encode(text), ids);
    if (golden.contains("decoded")) {
      EXPECT_EQ(tokenizer.Decode(Ids(golden["ids"])), golden["decoded"].get<std::string>());
    }
    if (golden.contains("ids_with_special") && !reconstructed) {
      EXPECT_EQ(tokenizer.EncodeWithSpecialTokens(text), Ids(golden["ids_with_special"]));
    }
  }
}

inline void ExpectCounts(const Tokenizer& tokenizer, const std::string& name) {
  const Json counts = ReadJsonFile(TokenizerData("golden/counts.json"))[name];
  const std::vector<int32_t> ids = tokenizer.Encode(WikiText());
  EXPECT_EQ(static_cast<int64_t>(ids.size()), counts["tokens"].get<int64_t>()) << name;
  EXPECT_EQ(HashOfIds(ids), counts["sha256"].get<std::string>()) << name;
}

}  // namespace gptq
