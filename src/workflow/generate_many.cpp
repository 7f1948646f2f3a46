#include "workflow/generate_many.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <sstream>

#include "workflow/continuation.h"
#include "workflow/data_rows.h"

namespace gptq {
namespace {

// A text that is being written.
struct Writing {
  Writing(const Decoder& decoder, const Tokenizer& tokenizer, const GenerateOptions& options, size_t index,
          std::vector<int32_t> ids)
      : prompt(index),
        all(std::move(ids)),
        cache(decoder.MakeCache(
            std::min(decoder.max_tokens(), static_cast<int64_t>(all.size()) + options.tokens),
            KvType(options.kv_bits))),
        sampler(options.sampling),
        text(decoder, tokenizer, cache, all, options, sampler, nobody) {}

  const size_t prompt;
  std::vector<int32_t> all;
  KvCache cache;
  Sampler sampler;
  std::function<void(std::string_view)> nobody;
  Continuation text;
};

// A rate of tokens.
class Meter {
 public:
  template <typename Work>
  void Measure(size_t tokens, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    tokens_ += static_cast<double>(tokens);
  }
  double rate() const { return seconds_ > 0 ? tokens_ / seconds_ : 0; }

 private:
  double tokens_ = 0, seconds_ = 0;
};

class Writers {
 public:
  Writers(const Decoder& decoder, const Tokenizer& tokenizer, const GenerateManyOptions& options,
          size_t prompts)
      : decoder_(decoder), tokenizer_(tokenizer), options_(options) {
    result_.texts.resize(prompts);
  }

  size_t running() const { return running_.size(); }

  void Begin(size_t prompt, std::vector<int32_t> ids) {
    auto writing = std::make_unique<Writing>(decoder_, tokenizer_, options_.each, prompt, std::move(ids));
    prefill_.Measure(writing->all.size(), [&] {
      const MatrixView hidden = decoder_.Run(writing->all, writing->cache);
      decoder_.Logits(hidden.Rows(hidden.rows - 1, 1), logits_);
    });
    if (Take(*writing, decoder_.backend().Readable(logits_.view(), readable_)))
      running_.push_back(std::move(writing));
  }

  // A token of each.
  void Step() {
    ids_.clear();
    caches_.clear();
    for (const auto& writing : running_) {
      ids_.push_back(writing->all.back());
      caches_.push_back(&writing->cache);
    }
    decode_.Measure(ids_.size(), [&] { decoder_.Logits(decoder_.Run(ids_, caches_, state_), logits_); });
    const MatrixView logits = decoder_.backend().Readable(logits_.view(), readable_);
    int64_t row = 0;
    std::erase_if(running_, [&](const auto& writing) { return !Take(*writing, logits.Rows(row++, 1)); });
  }

  GenerateManyResult Finish() {
    result_.prefill_tokens_per_second = prefill_.rate();
    result_.decode_tokens_per_second = decode_.rate();
    return std::move(result_);
  }

 private:
  bool Take(Writing& writing, MatrixView logits) {
    const bool goes_on = writing.text.Take(logits);
    if (!goes_on) result_.texts[writing.prompt] = std::move(writing.text.result());
    return goes_on;
  }

  const Decoder& decoder_;
  const Tokenizer& tokenizer_;
  const GenerateManyOptions& options_;
  std::vector<std::unique_ptr<Writing>> running_;
  std::vector<int32_t> ids_;
  std::vector<KvCache*> caches_;
  BlockState state_;
  Matrix logits_, readable_;
  Meter prefill_, decode_;
  GenerateManyResult result_;
};

}  // namespace

GenerateManyResult GenerateMany(const Decoder& decoder, const Tokenizer& tokenizer,
                                const std::vector<Prompt>& prompts, const GenerateManyOptions& options,
                                const std::function<void()>& step) {
  std::vector<std::vector<int32_t>> ids;
  for (const Prompt& prompt : prompts) {
    ids.push_back(PromptIds(tokenizer, prompt.text));
    if (static_cast<int64_t>(ids.back().size()) >= decoder.max_tokens()) {
      throw Error(
          Concat("the prompt has ", ids.back().size(), " tokens, and at most ", decoder.max_tokens(), " fit"),
          prompt.where, "shorten it");
    }
  }
  Writers writers(decoder, tokenizer, options, prompts.size());
  size_t next = 0;
  while (next < prompts.size() || writers.running() > 0) {
    while (next < prompts.size() && static_cast<int64_t>(writers.running()) < options.together) {
      writers.Begin(next, std::move(ids[next]));
      ++next;
    }
    if (writers.running() > 0) writers.Step();
    step();
  }
  return writers.Finish();
}

std::vector<Prompt> ReadPrompts(const std::filesystem::path& path) {
  std::vector<Prompt> prompts;
  const auto add = [&](int64_t line, std::string text) {
    prompts.push_back({std::move(text), Concat(path.string(), ", line ", line)});
  };
  const std::string kind = path.extension();
  if (kind == ".json" || kind == ".jsonl" || kind == ".csv") {
    for (const DataRow& row : ReadDataRows(path)) {
      const auto prompt = row.fields.find("prompt");
      if (prompt == row.fields.end() || !prompt->is_string()) {
        throw Error("no text 'prompt'", Concat(path.string(), ", line ", row.line),
                    "give each row its prompt by this key");
      }
      add(row.line, prompt->get<std::string>());
    }
    return prompts;
  }
  std::istringstream lines(ReadTextFile(path));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) add(number, std::move(line));
  }
  if (prompts.empty()) throw Error("no prompt", path.string(), "give one a line");
  return prompts;
}

}  // namespace gptq
