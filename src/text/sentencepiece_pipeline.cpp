#include "text/sentencepiece_pipeline.h"

#include "text/character_map.h"

namespace gptq {
namespace {

Json Replace(const char* kind, const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

}  // namespace

Json SentencePieceNormalizer(const SentencePieceSpaces& spaces, std::string_view character_map) {
  Json steps = Json::array();
  if (!character_map.empty())
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", EncodeBase64(character_map)}});
  if (spaces.remove_extra) {
    steps.push_back(Replace("Regex", R"(\A +| +\z)", ""));
    steps.push_back(Replace("Regex", " {2,}", " "));
  }
  if (spaces.prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSentencePieceSpace}});
  steps.push_back(Replace("String", " ", kSentencePieceSpace));
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json SentencePieceDecoder(const SentencePieceSpaces& spaces) {
  Json steps = Json::array(
      {Replace("String", kSentencePieceSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (spaces.prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace gptq
