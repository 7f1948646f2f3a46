#include "text/chat_template.h"

#include <sstream>

#include "tests/text/tokenizer_fixtures.h"

namespace gptq {
namespace chat_template_test {

std::tm GoldenDay() {
  std::tm day{};
  day.tm_year = 124;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  return day;
}

std::string Render(const std::string& source, const std::string& variables = "{}",
                   const JinjaLimits& limits = {}) {
  return ChatTemplate(source, "the template")
      .Render(ParseOrderedJson(variables, "test"), GoldenDay(), limits);
}

// Against jinja2: texts are equal, and what it refuses is refused.
TEST(ChatTemplateGolden, AsJinjaRenders) {
  const std::filesystem::path folder = TestData("chat_templates");
  std::istringstream lines(ReadTextFile(folder / "golden.jsonl"));
  int cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const OrderedJson golden = ParseOrderedJson(line, "golden.jsonl");
    SCOPED_TRACE(golden["name"].get<std::string>());
    const std::string source = golden.contains("source")
                                   ? golden["source"].get<std::string>()
                                   : ReadTextFile(folder / "templates" / golden["file"].get<std::string>());
    try {
      const std::string text = ChatTemplate(source, "golden").Render(golden["variables"], GoldenDay());
      if (golden.contains("error")) {
        ADD_FAILURE() << "jinja2 says " << golden["error"] << ", got: " << text;
      } else {
        EXPECT_EQ(text, golden["text"].get<std::string>());
      }
    } catch (const Error& error) {
      EXPECT_TRUE(golden.contains("error")) << error.what();
    }
  }
  EXPECT_GT(cases, 200);
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_ERROR(Render("a\nb\n{% nothing %}"), "the tag 'nothing' is not supported, the template, line 3");
  EXPECT_ERROR(Render("\n{{ 'a' | nothing }}"),
               "the filter 'nothing' is not supported, the template, line 2");
  EXPECT_ERROR(Render("{{ 1 is nothing }}"), "the test 'nothing' is not supported");
  EXPECT_ERROR(Render("\n\n{{ user.name }}"),
               "'user' is undefined, so it has no 'name', the template, line 3");
  EXPECT_ERROR(Render("{{ joiner(', ') }}"), "'joiner' is undefined");
  EXPECT_ERROR(Render("{{ raise_exception('roles must alternate') }}"),
               "refuses the conversation: roles must alternate");
  EXPECT_ERROR(Render("{{ f(*a) }}"), "'*' or '**', which is not supported");
  EXPECT_ERROR(Render("{% for a in b recursive %}{% endfor %}"), "recursive loop, which is not supported");
  EXPECT_ERROR(Render("{% include 'x' %}"), "'include' is not supported");
  EXPECT_ERROR(Render("{{ 99999999999999999999 }}"), "too large");
  EXPECT_ERROR(Render("{{ 9223372036854775807 + 1 }}"), "more than 64 bits");
}

TEST(ChatTemplate, WhatNeverEndsIsStopped) {
  const char* const kBillion =
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
      "{% endfor %}{% endfor %}{% endfor %}";
  EXPECT_ERROR(Render(kBillion), "takes more than");
  EXPECT_ERROR(Render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "levels of nesting");
  EXPECT_ERROR(Render("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a == ns.a }}{{ ns | tojson }}"),
               "no form in JSON");
  EXPECT_ERROR(Render("{{ 'a' * 9999999999 }}"), "bytes of values");
  EXPECT_ERROR(Render("{{ [1] * 9223372036854775807 }}"), "bytes of values");
  EXPECT_ERROR(Render("{% set ns = namespace(t='ab') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}"
                      "{% endfor %}"),
               "bytes of values");
  EXPECT_ERROR(Render("{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}"), "takes more than");
  EXPECT_ERROR(Render("{{ 'a'.center(99999999999) }}"), "bytes of values");
  EXPECT_ERROR(Render("{{ 2 ** 9999999999 }}"), "more than 64 bits");
  EXPECT_ERROR(Render("{{ (-1) ** 9999999999 }}"), "steps");
  EXPECT_ERROR(Render("{{ range(9223372036854775807) }}"), "a range of more than");
  // Numbers at the ends of what 64 bits hold.
  EXPECT_EQ(Render("{{ 'a'.center(-9223372036854775807 - 1) }}{{ 'b'.ljust(-9223372036854775807 - 1) }}"),
            "ab");
  EXPECT_EQ(Render("{{ (-9223372036854775807 - 1) % 3 }} {{ 9223372036854775807 % -2 }} {{ -7 % 3 }}"),
            "1 -1 2");
  EXPECT_EQ(Render("{{ 'abc' | truncate(9223372036854775807, leeway=9223372036854775807) }}"), "abc");
  EXPECT_ERROR(Render("{{ 'abc' | truncate(-9223372036854775807, leeway=-9223372036854775807) }}"),
               "its end");
  EXPECT_EQ(Render("{{ [1, 2][-9223372036854775807:9223372036854775807:9223372036854775807] }}"), "[1]");
  const JinjaLimits small{.steps = 100, .bytes = 1000, .output_bytes = 10, .nesting = 10};
  EXPECT_EQ(Render("{{ 1 }}", "{}", small), "1");
  EXPECT_ERROR(Render("12345678901", "{}", small), "more than 10 bytes of text");
}

TEST(ChatTemplate, DeepSourcesAreRefused) {
  const auto repeated = [](const std::string& text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
  };
  EXPECT_ERROR(Render("{{ " + repeated("(", 9999) + "1" + repeated(")", 9999) + " }}"), "deeper than");
  EXPECT_ERROR(Render("{{ " + repeated("[", 9999) + repeated("]", 9999) + " }}"), "deeper than");
  EXPECT_ERROR(Render("{{ " + repeated("not ", 9999) + "a }}"), "too many 'not'");
  EXPECT_ERROR(Render("{{ " + repeated("- ", 9999) + "a }}"), "too many signs");
  EXPECT_ERROR(Render("{{ 1" + repeated("+ 1", 9999) + "}}"), "levels");
  EXPECT_ERROR(Render("{{ a" + repeated(".a", 9999) + "}}"), "levels");
  EXPECT_ERROR(Render("{{ a" + repeated(" if a", 9999) + "}}"), "levels");
  EXPECT_ERROR(Render("{{ a" + repeated(" if a else a", 9999) + "}}"), "levels");
  EXPECT_ERROR(Render(repeated("{% if a %}", 9999)), "deeper than");
  EXPECT_EQ(Render("{{ 1" + repeated("+ 1", 99) + "}}"), "100");
}

TEST(ChatTemplate, DamagedSourcesAreErrorsOrTexts) {
  const std::string good = ReadTextFile(TestData("chat_templates/templates/qwen3.jinja"));
  const std::string variables =
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})";
  EXPECT_FALSE(Render(good, variables).empty());
  std::mt19937 random(11);
  int rendered = 0;
  for (int round = 0; round < 600; ++round) {
    std::string bad = good;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      const size_t at = random() % bad.size();
      if (random() % 2 == 0) {
        bad[at] = static_cast<char>(random());
      } else {
        bad.erase(at, random() % 20);
      }
    }
    try {
      Render(bad, variables);
      ++rendered;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(rendered, 100);
}

OrderedJson Conversation() {
  return ParseOrderedJson(R"([{"role":"user","content":"Hi <|im_end|>"}])", "test");
}

TEST(RenderChat, OfSmolLm2) {
  const Tokenizer tokenizer = LoadGgufTokenizer("smollm2.gguf");
  const std::string text = RenderChat(tokenizer, Conversation(), {}, "model");
  EXPECT_EQ(
      text,
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n");
  const std::vector<int32_t> ids = EncodeChat(tokenizer, text);
  EXPECT_EQ(ids.front(), tokenizer.FindToken("<|im_start|>"));
  EXPECT_EQ(tokenizer.Decode(ids), text);
  const std::string open = RenderChat(tokenizer, Conversation(), {.add_generation_prompt = false}, "model");
  EXPECT_TRUE(open.ends_with("<|im_end|>\n"));
}

TEST(RenderChat, NoSecondBeginningOfSequence) {
  TemporaryFolder folder;
  std::filesystem::copy_file(TokenizerData("llama2/tokenizer.model"), folder.path() / "tokenizer.model");
  std::ofstream(folder.path() / "chat_template.jinja")
      << ReadTextFile(TestData("chat_templates/templates/llama2.jinja"));
  const Tokenizer tokenizer = LoadTokenizer(folder.path());
  const std::string text =
      RenderChat(tokenizer, ParseOrderedJson(R"([{"role":"user","content":"Hi"}])", "test"), {}, "model");
  EXPECT_EQ(text, "<s>[INST] Hi [/INST]");
  const std::vector<int32_t> ids = EncodeChat(tokenizer, text);
  EXPECT_EQ(ids.front(), tokenizer.bos());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *tokenizer.bos()), 1);
}

TEST(RenderChat, SaysWhatIsMissing) {
  const Tokenizer none = LoadTokenizer(TokenizerData("gpt2"));
  EXPECT_ERROR(RenderChat(none, Conversation(), {}, "model"), "no chat template, model");
  const Tokenizer tokenizer = LoadGgufTokenizer("smollm2.gguf");
  for (const char* messages : {"[]", "{}", "null", "3"})
    EXPECT_ERROR(RenderChat(tokenizer, ParseOrderedJson(messages, "test"), {}, "model"), "no messages");
  for (const char* messages : {"[3]", R"([{"content":"a"}])", R"([{"role":3}])"})
    EXPECT_ERROR(RenderChat(tokenizer, ParseOrderedJson(messages, "test"), {}, "model"),
                 "message 1 has no 'role'");
  EXPECT_ERROR(RenderChat(tokenizer, ParseOrderedJson(R"([{"role":"user"}])", "test"), {}, "model"),
               "model, chat template, line");
}

}  // namespace chat_template_test
}  // namespace gptq
