#include "text/gguf_pre_tokenizers.h"

#include <array>
#include <string>

#include "base/error.h"

namespace gptq {
namespace {

// Patterns as the models' own tokenizer.json have them. Llama 3's; Qwen2's takes numbers digit by digit.
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen3.5: marks belong to words.
constexpr const char* kQwen35Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// GPT-4o: words are cut where lower case turns into upper case. Mistral's Tekken: without contractions.
constexpr const char* kGpt4oPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBloomPattern = " ?[^(\\s|[.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C])]+";
constexpr const char* kBailingPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoderPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek V3: after numbers of at most three digits, and Chinese and Japanese.
constexpr const char* kDeepSeekV3Pattern =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeekV3Scripts = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";

// Kimi K2: GPT-4o's words without Chinese characters, which are taken by themselves.
constexpr const char* kKimiPattern =
    R"([\p{Han}]+|)"
    R"([^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])*(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])+(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// K-EXAONE: words and the single spaces between them are one piece.
constexpr const char* kExaoneMoePattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
// Jais 2: spaces in runs of powers of two.
constexpr const char* kJais2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
    R"(\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
// MiniCPM 5: Llama 3's, after numbers of at most three digits.
constexpr const char* kMiniCpm5Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Youtu: GPT-4o's with single digits, after scripts and punctuation of East Asia.
constexpr const char* kYoutuScripts =
    "[\uAC00-\uD7A3\u3131-\u318E]+|"
    "[\uFF01\u2026\u201C\u201D\u2018\u2019\u2014\uFF1A\uFF1B\uFF0C\u3001-\u303F\uFE30-\uFE4F]+|"
    "[\u3105-\u312F]+|[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr const char* kYoutuPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek LLM's classes, as its tokenizer.json lists them: letters with case, ASCII and full-width
// punctuation, Chinese and what lies between.
constexpr const char* kDeepSeekLetters =
    "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-"
    "\u0373\u0376"
    "\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-"
    "\u052F\u0531-\u0556"
    "\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A"
    "\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-"
    "\u1FB4"
    "\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-"
    "\u1FFC\u2102"
    "\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-"
    "\u213F\u2145-\u2149"
    "\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-"
    "\uA76F"
    "\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-"
    "\U0001044F"
    "\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-"
    "\U000118DF"
    "\U0001E900-\U0001E943]+";
constexpr const char* kDeepSeekPunctuation =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr const char* kDeepSeekChinese = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";

Json Split(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json ByteLevel(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json Digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }

Json Sequence(Json stages) { return {{"type", "Sequence"}, {"pretokenizers", std::move(stages)}}; }

Json Nfc() { return {{"type", "NFC"}}; }

GgufPreTokenizer Gpt2(Json normalizer) { return {std::move(normalizer), ByteLevel(true)}; }

GgufPreTokenizer SingleDigits(Json normalizer) {
  return {std::move(normalizer), Sequence(Json::array({Digits(true), ByteLevel(true)}))};
}

// One pattern for all.
GgufPreTokenizer OnePattern(const char* pattern, Json normalizer = Json()) {
  return {std::move(normalizer), Sequence(Json::array({Split(pattern), ByteLevel(false)}))};
}

GgufPreTokenizer IgnoringMerges(GgufPreTokenizer rule, bool add_bos) {
  rule.ignore_merges = true;
  rule.add_bos = add_bos;
  return rule;
}

GgufPreTokenizer Llama3() { return IgnoringMerges(OnePattern(kLlama3Pattern), true); }
GgufPreTokenizer Qwen2() { return OnePattern(kQwen2Pattern, Nfc()); }

GgufPreTokenizer Falcon() {
  const Json punctuation = {{"type", "Punctuation"}, {"behavior", "Contiguous"}};
  return {Json(),
          Sequence(Json::array({punctuation, ByteLevel(true), Digits(false), Split("[0-9][0-9][0-9]")}))};
}

GgufPreTokenizer DeepSeekLlm() {
  return {Json(),
          Sequence(Json::array({Split("[\r\n]"), Split(kDeepSeekLetters), Split(kDeepSeekPunctuation),
                                Split("\\s+$"), Split(kDeepSeekChinese), Digits(true), ByteLevel(false)})),
          false, true};
}

GgufPreTokenizer DeepSeekCoder() {
  return {Json(),
          Sequence(Json::array({Split("[\r\n]"), Split("\\s?\\p{L}+"), Split("\\s?\\p{P}+"),
                                Split(kDeepSeekChinese), Digits(true), ByteLevel(false)})),
          false, true};
}

GgufPreTokenizer DeepSeekV3() {
  return {Json(),
          Sequence(Json::array({Split("\\p{N}{1,3}"), Split(kDeepSeekV3Scripts), Split(kDeepSeekV3Pattern),
                                ByteLevel(false)})),
          false, true};
}

// Pieces of a pattern, cut further by another one.
GgufPreTokenizer TwoPatterns(const char* first, const char* second) {
  return {Json(), Sequence(Json::array({Split(first), Split(second), ByteLevel(false)}))};
}

// BLOOM's, then each digit alone.
GgufPreTokenizer Viking() {
  return {Json(), Sequence(Json::array({Split(kBloomPattern), Digits(true), ByteLevel(false)}))};
}

struct NamedRule {
  std::string_view name;
  GgufPreTokenizer (*make)();
};

constexpr auto kGpt2 = [] { return Gpt2(Json()); };
constexpr auto kGpt2Nfc = [] { return Gpt2(Nfc()); };
constexpr auto kSingleDigits = [] { return SingleDigits(Json()); };
constexpr auto kLlama3MergedAll = [] { return OnePattern(kLlama3Pattern); };
constexpr auto kGpt4o = [] { return OnePattern(kGpt4oPattern); };
constexpr auto kBloom = [] { return OnePattern(kBloomPattern); };
constexpr auto kBailing = [] { return OnePattern(kBailingPattern); };
// Where nobody has said whether the model's own tokenizer normalizes.
constexpr auto kQwen2Raw = [] { return OnePattern(kQwen2Pattern); };

// Tiny Aya: digits in groups of three from the right.
constexpr auto kTinyAya = [] { return TwoPatterns(R"(\d{1,3}(?=(?:\d{3})*\b))", kGpt4oPattern); };

// Of rules that are alike the first one names what is written.
constexpr std::array kByPre = {
    NamedRule{"gpt-2", kGpt2},
    NamedRule{"phi-2", kGpt2},
    NamedRule{"exaone4", kGpt2},
    NamedRule{"gigachat", kGpt2},
    NamedRule{"a.x-4.0", kGpt2},
    NamedRule{"mellum", kGpt2},
    NamedRule{"jais", kGpt2},
    NamedRule{"trillion", kGpt2},
    NamedRule{"granite-docling", kGpt2},
    NamedRule{"mpt", kGpt2Nfc},
    NamedRule{"olmo", kGpt2Nfc},
    NamedRule{"smollm", kSingleDigits},
    NamedRule{"starcoder", kSingleDigits},
    NamedRule{"refact", kSingleDigits},
    NamedRule{"codeshell", kSingleDigits},
    NamedRule{"exaone", kSingleDigits},
    NamedRule{"minerva-7b", kSingleDigits},
    NamedRule{"mellum2", kSingleDigits},
    NamedRule{"command-r", [] { return SingleDigits(Nfc()); }},
    NamedRule{"llama-bpe", Llama3},
    NamedRule{"llama3", Llama3},
    NamedRule{"llama-v3", Llama3},
    NamedRule{"falcon3", Llama3},
    NamedRule{"falcon-h1", Llama3},
    NamedRule{"pixtral", Llama3},
    NamedRule{"midm-2.0", Llama3},
    NamedRule{"lfm2", Llama3},
    NamedRule{"glm4", [] { return IgnoringMerges(OnePattern(kLlama3Pattern), false); }},
    NamedRule{"glm5", [] { return IgnoringMerges(OnePattern(kLlama3Pattern), false); }},
    NamedRule{"chatglm-bpe", kLlama3MergedAll},
    NamedRule{"dbrx", kLlama3MergedAll},
    NamedRule{"smaug-bpe", kLlama3MergedAll},
    NamedRule{"qwen2", Qwen2},
    NamedRule{"deepseek-r1-qwen", Qwen2},
    NamedRule{"megrez", Qwen2},
    NamedRule{"kormo", kQwen2Raw},
    NamedRule{"stablelm2", kQwen2Raw},
    NamedRule{"hunyuan", kQwen2Raw},
    NamedRule{"solar-open", kQwen2Raw},
    NamedRule{"grok-2", kQwen2Raw},
    NamedRule{"qwen35", [] { return OnePattern(kQwen35Pattern, Nfc()); }},
    NamedRule{"gpt-4o", kGpt4o},
    NamedRule{"llama4", kGpt4o},
    NamedRule{"kanana2", kGpt4o},
    NamedRule{"talkie", kGpt4o},
    NamedRule{"minimax-m2", kGpt4o},
    NamedRule{"tekken", [] { return IgnoringMerges(OnePattern(kTekkenPattern), true); }},
    NamedRule{"falcon", Falcon},
    NamedRule{"deepseek-llm", DeepSeekLlm},
    NamedRule{"deepseek-coder", DeepSeekCoder},
    NamedRule{"deepseek-v3", DeepSeekV3},
    NamedRule{"hunyuan-dense", DeepSeekV3},
    NamedRule{"joyai-llm", DeepSeekV3},
    NamedRule{"hy_v4", DeepSeekV3},
    NamedRule{"bloom", kBloom},
    NamedRule{"gpt3-finnish", kBloom},
    NamedRule{"poro-chat", kBloom},
    NamedRule{"viking", Viking},
    NamedRule{"bailingmoe", kBailing},
    NamedRule{"bailingmoe2", kBailing},
    NamedRule{"llada-moe", kBailing},
    NamedRule{"kimi-k2", [] { return OnePattern(kKimiPattern); }},
    NamedRule{"exaone-moe", [] { return OnePattern(kExaoneMoePattern); }},
    NamedRule{"jais-2", [] { return OnePattern(kJais2Pattern); }},
    NamedRule{"minicpm5", [] { return IgnoringMerges(TwoPatterns("\\p{N}{1,3}", kMiniCpm5Pattern), false); }},
    NamedRule{"youtu", [] { return IgnoringMerges(TwoPatterns(kYoutuScripts, kYoutuPattern), false); }},
    NamedRule{"tiny_aya", kTinyAya},
    NamedRule{"cohere2moe", kTinyAya},
    NamedRule{"laguna", [] { return TwoPatterns("[^\\n]+|[\\n]+", kQwen2Pattern); }},
    // Words are merged over spaces; digits in groups of three from the right.
    NamedRule{"superbpe", [] { return TwoPatterns("\\p{N}+", "(?=(\\d{3})+(?!\\d))"); }},
    NamedRule{"seed-coder", [] { return OnePattern(kSeedCoderPattern); }},
};

// Architectures whose models all pre-tokenize alike.
constexpr std::array kByArchitecture = {
    NamedRule{"gpt2", kGpt2},
    NamedRule{"gptneox", kGpt2Nfc},
    NamedRule{"mpt", kGpt2Nfc},
    NamedRule{"olmo", kGpt2Nfc},
    NamedRule{"phi2", kGpt2},
    NamedRule{"starcoder", kSingleDigits},
    NamedRule{"starcoder2", kSingleDigits},
    NamedRule{"refact", kSingleDigits},
    NamedRule{"command-r", [] { return SingleDigits(Nfc()); }},
    NamedRule{"qwen2", Qwen2},
    NamedRule{"qwen2moe", Qwen2},
    NamedRule{"qwen3", Qwen2},
    NamedRule{"qwen3moe", Qwen2},
    NamedRule{"falcon", Falcon},
    NamedRule{"bloom", kBloom},
};

template <size_t N>
const NamedRule* Find(const std::array<NamedRule, N>& rules, std::string_view name) {
  for (const NamedRule& rule : rules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

// Without what does not change the pieces: offsets, defaults, sequences of one.
Json Canonical(Json part) {
  if (part.is_array()) {
    for (Json& element : part) element = Canonical(std::move(element));
    return part;
  }
  if (!part.is_object()) return part;
  for (const char* list : {"pretokenizers", "normalizers"}) {
    if (!part.contains(list)) continue;
    part[list] = Canonical(part[list]);
    if (part[list].size() == 1) return part[list][0];
  }
  part.erase("trim_offsets");
  if (part.value("type", Json()) == "ByteLevel" && !part.contains("use_regex")) part["use_regex"] = true;
  return part;
}

}  // namespace

std::optional<std::string> GgufPreTokenizerName(const Json& normalizer, const Json& pre_tokenizer) {
  std::optional<std::string> without_normalizer;
  for (const NamedRule& rule : kByPre) {
    const GgufPreTokenizer made = rule.make();
    if (Canonical(made.pre_tokenizer) != Canonical(pre_tokenizer)) continue;
    if (Canonical(made.normalizer) == Canonical(normalizer)) return std::string(rule.name);
    if (!without_normalizer) without_normalizer = rule.name;
  }
  return without_normalizer;
}

GgufPreTokenizer FindGgufPreTokenizer(std::string_view pre, std::string_view architecture,
                                      std::string_view where) {
  if (const NamedRule* rule = Find(kByPre, pre)) return rule->make();
  const bool says_nothing = pre.empty() || pre == "default";
  if (says_nothing) {
    if (const NamedRule* rule = Find(kByArchitecture, architecture)) return rule->make();
  }
  const std::string what = says_nothing ? Concat(
                                              "the file does not say how text is pre-tokenized (no "
                                              "tokenizer.ggml.pre), nor does the architecture '",
                                              architecture, "'")
                                        : Concat("the pre-tokenizer '", pre, "' is not known");
  throw Error(what, where,
              "use the model's Hugging Face folder, or a GGUF file with a known tokenizer.ggml.pre");
}

}  // namespace gptq
