#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gptq::OrderedJson variables = gptq::ParseOrderedJson(
      R"({"bos_token":"<s>","eos_token":"</s>","add_generation_prompt":true,"tools":[{"type":"function",
          "function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}}],
          "messages":[{"role":"system","content":" s "},{"role":"user","content":"u"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"abcdefghi","function":{"name":"f","arguments":{"a":1.5}}}]},
          {"role":"tool","content":"t"},{"role":"user","content":[{"type":"text","text":"x"}]}]})",
      "fuzz");
  const gptq::JinjaLimits limits{.steps = 20000, .bytes = 1 << 22, .output_bytes = 1 << 18};
  try {
    gptq::ChatTemplate(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz")
        .Render(variables, std::tm{}, limits);
  } catch (const gptq::Error&) {
  }
  return 0;
}
