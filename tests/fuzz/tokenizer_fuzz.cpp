// A tokenizer.json, or (where the first byte is no '{') a SentencePiece model; then text through what was
// read.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

namespace {

gptq::Tokenizer Load(const std::string& bytes) {
  if (bytes.starts_with('{'))
    return {gptq::PartsFromTokenizerJson(gptq::ParseJson(bytes, "fuzz"), "fuzz"), "fuzz"};
  return {gptq::PartsFromSentencePiece(gptq::ParseSentencePieceModel(bytes, "fuzz"), "fuzz"), "fuzz"};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const gptq::Tokenizer tokenizer = Load(std::string(reinterpret_cast<const char*>(data), size));
    for (const char* text :
         {"Hello  world, don't! \u00E9\u4E00\U0001F642 <s>123</s>\n", "aaaa bbbb abab", ""})
      tokenizer.Decode(tokenizer.EncodeWithSpecialTokens(text));
  } catch (const gptq::Error&) {
  }
  return 0;
}
