#include "base/json.h"

#include <fstream>

#include "tests/test_util.h"

namespace gptq {
namespace json_test {

TEST(JsonText, ErrorsNameThePlace) {
  EXPECT_EQ(ParseJson(R"({"a":[1,2.5,"x"]})", "here")["a"][2], "x");
  for (const char* text : {"", "{", "[1,]", "{\"a\":1}x", "nul", "\"\xff\"", "{'a':1}"}) {
    EXPECT_ERROR(ParseJson(text, "config.json"), "config.json");
  }
}

TEST(JsonText, ALineHasTheNumberThatItsPlaceSays) {
  EXPECT_ERROR(ParseJson("[1,]", "rows.jsonl, line 7"), "parse error at column 4");
  EXPECT_ERROR(ParseJson("[1,\n]", "config.json"), "line 2, column 1");
}

TEST(JsonText, DepthIsLimited) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(ParseJson(nested(150), "here"));
  EXPECT_ERROR(ParseJson(nested(300), "here"), "nested deeper than 200");
  EXPECT_ERROR(ParseJson(nested(1'000'000), "here"), "nested deeper than 200");
}

TEST(JsonText, OutputIsAlwaysUtf8) {
  EXPECT_EQ(Dump(Json{{"text", "\xff"}}), "{\"text\":\"\xef\xbf\xbd\"}");
  EXPECT_EQ(Dump(Json{{"text", "ö"}}), "{\"text\":\"ö\"}");
}

TEST(JsonText, FilesAreReadWhole) {
  TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "x.json";
  std::ofstream(path, std::ios::binary) << "{\"a\":1}\n";
  EXPECT_EQ(ReadTextFile(path), "{\"a\":1}\n");
  EXPECT_EQ(ReadJsonFile(path)["a"], 1);
  EXPECT_ERROR(ReadTextFile(path, 7), "at most 7");
  EXPECT_ERROR(ReadTextFile(folder.path() / "none"), "none");
  EXPECT_ERROR(ReadTextFile(folder.path()), "a folder where a file is expected");
}

}  // namespace json_test
}  // namespace gptq
