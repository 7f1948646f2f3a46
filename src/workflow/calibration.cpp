#include "workflow/calibration.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/ordered_json.h"
#include "io/safetensors.h"
#include "text/chat_template.h"
#include "workflow/sequence_length.h"

namespace gptq {
namespace {

// Uniform in [0, count), the same on every machine (std::uniform_int_distribution is not).
int64_t Draw(std::mt19937_64& random, int64_t count) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(count));
}

template <typename T>
void Shuffle(std::vector<T>& items, std::mt19937_64& random) {
  for (int64_t i = static_cast<int64_t>(items.size()) - 1; i > 0; --i) {
    std::swap(items[static_cast<size_t>(i)], items[static_cast<size_t>(Draw(random, i + 1))]);
  }
}

// Consecutive windows of `ids` in random order, at most `count`, appended to `set`.
void AppendWindows(const std::vector<int32_t>& ids, int64_t count, std::mt19937_64& random,
                   CalibrationSet* set) {
  const int64_t length = set->tokens_per_sample;
  std::vector<int64_t> starts;
  for (int64_t start = 0; start + length <= static_cast<int64_t>(ids.size()); start += length)
    starts.push_back(start);
  Shuffle(starts, random);
  for (size_t i = 0; i < starts.size() && static_cast<int64_t>(i) < count; ++i) {
    set->ids.insert(set->ids.end(), ids.begin() + starts[i], ids.begin() + starts[i] + length);
    ++set->samples;
  }
}

struct Document {
  std::string text;
  bool is_chat = false;  // rendered by the chat template, which has written all special tokens
};

// A fixed day: the same calibration must not depend on when it is done.
std::tm CalibrationDay() {
  std::tm day{};
  day.tm_year = 124;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  return day;
}

Document ParseDocument(std::string_view line, const Tokenizer& tokenizer, const std::string& place) {
  const OrderedJson json = ParseOrderedJson(line, place);
  if (json.is_object() && json.contains("messages")) {
    ChatOptions options;
    options.add_generation_prompt = false;
    options.now = CalibrationDay();
    if (json.contains("tools")) options.tools = json.at("tools");
    return {RenderChat(tokenizer, json.at("messages"), options, place), true};
  }
  if (!json.is_object() || !json.contains("text") || !json.at("text").is_string()) {
    throw Error("a line without a string 'text' or a list 'messages'", place,
                R"(write one {"text": ...} or {"messages": [...]} a line)");
  }
  return {json.at("text").get<std::string>()};
}

std::vector<Document> Documents(std::string_view lines, const Tokenizer& tokenizer,
                                const std::string& where) {
  std::vector<Document> documents;
  size_t start = 0;
  for (int64_t number = 1; start < lines.size(); ++number) {
    const size_t end = std::min(lines.find('\n', start), lines.size());
    const std::string_view line = lines.substr(start, end - start);
    start = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    documents.push_back(ParseDocument(line, tokenizer, Concat(where, ", line ", number)));
  }
  return documents;
}

void FromDocuments(const std::vector<Document>& documents, const Tokenizer& tokenizer, int64_t samples,
                   std::mt19937_64& random, CalibrationSet* set, Progress& progress) {
  const int64_t length = set->tokens_per_sample;
  std::vector<size_t> order(documents.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  Shuffle(order, random);
  std::vector<int32_t> joined;
  progress.Stage("tokenize", static_cast<int64_t>(documents.size()));
  int64_t done = 0;
  for (const size_t i : order) {
    progress.Step(++done);
    if (set->samples == samples) continue;
    const auto& [text, is_chat] = documents[i];
    const std::vector<int32_t> ids = is_chat ? EncodeChat(tokenizer, text) : tokenizer.Encode(text);
    const int64_t spare = static_cast<int64_t>(ids.size()) - length;
    if (spare < 0) {
      const std::vector<int32_t> whole = is_chat ? ids : tokenizer.EncodeWithSpecialTokens(text);
      joined.insert(joined.end(), whole.begin(), whole.end());
      continue;
    }
    const int64_t start = Draw(random, spare + 1);
    set->ids.insert(set->ids.end(), ids.begin() + start, ids.begin() + start + length);
    ++set->samples;
  }
  if (set->samples < samples) AppendWindows(joined, samples - set->samples, random, set);
}

CalibrationSet FromTokens(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::Open(path);
  const TensorView view = file.Get("input_ids");
  if (view.dtype != DType::kI32 || view.shape.size() != 2 || view.elements() == 0) {
    throw Error(Concat("'input_ids' is ", Name(view.dtype), " ", ToString(view.shape),
                       ", must be I32 [samples, tokens], not empty"),
                path.string(), "write the file again");
  }
  CalibrationSet set;
  set.samples = view.shape[0];
  set.tokens_per_sample = view.shape[1];
  set.ids.resize(static_cast<size_t>(view.elements()));
  std::memcpy(set.ids.data(), view.data, static_cast<size_t>(view.bytes()));
  return set;
}

void DrawSinks(int64_t count, uint64_t seed, CalibrationSet* set) {
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < count; ++i) {
    set->sinks.push_back(set->ids[static_cast<size_t>(Draw(random, set->tokens()))]);
  }
}

}  // namespace

void MaskTokens(int32_t mask_token, uint64_t seed, CalibrationSet& set) {
  if (std::ranges::find(set.ids, mask_token) != set.ids.end()) return;
  std::mt19937_64 random(seed ^ 0x6d61736b);  // not the numbers that drew the windows
  const auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  for (int64_t sample = 0; sample < set.samples; ++sample) {
    const double share = uniform();
    int32_t* ids = set.ids.data() + sample * set.tokens_per_sample;
    for (int64_t t = 0; t < set.tokens_per_sample; ++t) {
      if (uniform() < share) ids[t] = mask_token;
    }
  }
}

CalibrationSet LoadCalibration(const CalibrationOptions& options, const Tokenizer* tokenizer,
                               int64_t vocabulary, Progress& progress) {
  const std::string where = options.file.empty() ? "the built-in calibration set" : options.file.string();
  const std::string extension = options.file.extension().string();
  CalibrationSet set;
  if (extension == ".safetensors") {
    set = FromTokens(options.file);
  } else {
    CHECK(tokenizer != nullptr);
    set.tokens_per_sample = options.sequence_length.value_or(kUsualSequenceLength);
    std::mt19937_64 random(options.seed);
    if (options.file.empty()) {
      FromDocuments(Documents(BuiltInCalibrationDocuments(), *tokenizer, where), *tokenizer, options.samples,
                    random, &set, progress);
    } else if (extension == ".jsonl") {
      FromDocuments(Documents(ReadTextFile(options.file), *tokenizer, where), *tokenizer, options.samples,
                    random, &set, progress);
    } else if (extension == ".txt") {
      AppendWindows(tokenizer->Encode(ReadTextFile(options.file)), options.samples, random, &set);
    } else {
      throw Error(Concat("calibration files of kind '", extension, "' are not known"), where,
                  "give .txt, .jsonl or .safetensors");
    }
    if (set.samples == 0) {
      throw Error(Concat("not one sample of ", set.tokens_per_sample, " tokens in it"), where,
                  "give more text or a smaller --sequence-length");
    }
    if (set.samples < options.samples) {
      progress.Note(Concat("the calibration text gives ", set.samples, " samples of ", set.tokens_per_sample,
                           " tokens, ", options.samples, " were asked for"));
    }
  }
  for (const int32_t id : set.ids) {
    if (id < 0 || id >= vocabulary) {
      throw Error(Concat("token id ", id, " is outside the model's vocabulary of ", vocabulary), where,
                  "tokenize with this model's own tokenizer");
    }
  }
  DrawSinks(options.sink_sequences, options.seed, &set);
  return set;
}

}  // namespace gptq
