#include "workflow/sweep.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/hash.h"
#include "io/writable_file.h"
#include "workflow/bias.h"
#include "workflow/model_size.h"
#include "workflow/quantize.h"
#include "workflow/resolve_options.h"
#include "workflow/result_json.h"
#include "workflow/sequence_length.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

struct Setting {
  std::string name, method;  // no method: the model as it is
  double bits = 0;
  int64_t group_size = 0;
};

std::vector<Setting> SettingsOf(const SweepOptions& options) {
  std::vector<Setting> settings{{"as-it-is", "", 0, 0}};
  for (const double bits : options.bits) {
    for (const int64_t group_size : options.group_sizes) {
      for (const std::string& method : options.methods) {
        const std::string group = group_size < 0 ? "row" : Concat("g", group_size);
        settings.push_back({Concat(method, "-", bits, "bit-", group), method, bits, group_size});
      }
    }
  }
  return settings;
}

QuantizeOptions OptionsFor(const SweepOptions& options, const Setting& setting) {
  ModelOptions given = options.given;
  given.quality.method = setting.method;
  given.quality.bits = setting.bits;
  given.quality.group_size = setting.group_size;
  QuantizeOptions resolved = ResolveQuantizeOptions(given);
  resolved.model = options.model;
  resolved.output = options.output / (setting.name + (resolved.format == WeightFormat::kGguf ? ".gguf" : ""));
  return resolved;
}

Json ReadData(const fs::path& path) {
  return {{"data", path.string()}, {"hash", HashName(HashText(ReadTextFile(path)))}};
}

// With the lengths of sequences filled in.
SweepOptions Completed(SweepOptions options, Progress& progress) {
  const auto model = ModelFiles::Open(options.model, options.given.architecture);
  for (auto [length, option] : {std::pair(&options.sequence_length, "--sequence-length"),
                                std::pair(&options.given.sequence_length, "--calibration-length")})
    *length = UsualSequenceLength(*model, *length, option, progress);
  return options;
}

// What all lines of a sweep have in common.
Json CommonSettings(const SweepOptions& options, Backend& backend) {
  const auto model = ModelFiles::Open(options.model, options.given.architecture);
  Json texts = Json::array(), tasks = Json::array();
  for (const fs::path& text : options.texts) texts.push_back(ReadData(text));
  for (const auto& [name, path] : options.tasks) {
    tasks.push_back(ReadData(path));
    tasks.back()["task"] = name;
  }
  const ModelOptions& given = options.given;
  const auto symmetric = given.quality.symmetric;
  return {{"version", GPTQ_VERSION},
          {"model", HashName(model->source().CheckContents(backend.pool()))},
          {"texts", texts},
          {"tasks", tasks},
          {"sequence_length", *options.sequence_length},
          {"windows", options.windows},
          {"examples", options.examples},
          {"recipe", given.quality.recipe},
          {"symmetric", symmetric ? Json(*symmetric) : Json()},
          {"format", given.format},
          {"calibration", given.calibration.empty() ? Json() : ReadData(given.calibration)},
          {"samples", given.samples},
          {"calibration_length", *given.sequence_length},
          {"seed", given.seed}};
}

bool IsBias(const std::string& task) { return task == "crows_pairs" || task == "stereoset"; }

template <typename Example>
void KeepFirst(std::vector<Example>& examples, int64_t count) {
  if (count > 0 && count < static_cast<int64_t>(examples.size())) examples.resize(static_cast<size_t>(count));
}

class Sweeper {
 public:
  Sweeper(const SweepOptions& options, Backend& backend, Progress& progress)
      : options_(Completed(options, progress)), backend_(backend), progress_(progress) {}

  std::vector<Json> Run() {
    const std::vector<Setting> settings = SettingsOf(options_);
    for (const Setting& setting : settings) {  // what cannot be is found before the work
      if (!setting.method.empty()) OptionsFor(options_, setting);
    }
    OpenFolder();
    std::vector<Json> lines;
    for (size_t i = 0; i < settings.size(); ++i) {
      const std::string& name = settings[i].name;
      if (!done_.contains(name)) {
        progress_.Note(Concat("setting ", i + 1, " of ", settings.size(), ": ", name));
        Remember(Measure(settings[i]));
      }
      lines.push_back(done_.at(name));
    }
    for (size_t text = 0; text < options_.texts.size(); ++text) fs::remove(ReferencePath(text));
    return lines;
  }

 private:
  fs::path ResultsPath() const { return options_.output / "results.jsonl"; }
  fs::path ReferencePath(size_t text) const {
    return options_.output / Concat("reference-", text, ".safetensors");
  }

  void OpenFolder() {
    const fs::path common_path = options_.output / "sweep.json";
    const Json common = CommonSettings(options_, backend_);
    if (!fs::exists(options_.output)) fs::create_directory(options_.output);
    if (fs::exists(common_path)) {
      const Json before = ReadJsonFile(common_path);
      for (const auto& [key, value] : before.items()) {
        if (!common.contains(key) || common.at(key) != value)
          throw Error(Concat("a sweep with other settings is there: '", key, "' differs"),
                      options_.output.string(), "choose another --output, or remove the folder");
      }
    } else if (!fs::is_empty(options_.output)) {
      throw Error("the folder holds something else than a sweep", options_.output.string(),
                  "choose another --output");
    } else {
      WriteFileAtOnce(common_path, Dump(common, 2) + "\n");
    }
    if (fs::exists(ResultsPath())) ReadResults();
  }

  void ReadResults() {
    const std::string text = ReadTextFile(ResultsPath());
    int64_t number = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string place = Concat(ResultsPath().string(), ", line ", ++number);
      Json line = ParseJson(std::string_view(text).substr(at, end - at), place);
      at = end + 1;
      if (!line.is_object() || !line.value("name", Json()).is_string())
        throw Error("not a line of a sweep", place, "remove the folder and begin again");
      order_.push_back(line.at("name").get<std::string>());
      done_[order_.back()] = std::move(line);
    }
  }

  void Remember(Json line) {
    order_.push_back(line.at("name").get<std::string>());
    done_[order_.back()] = std::move(line);
    std::string text;
    for (const std::string& name : order_) text += Dump(done_.at(name)) + "\n";
    WriteFileAtOnce(ResultsPath(), text);
  }

  Json Measure(const Setting& setting) {
    const auto start = std::chrono::steady_clock::now();
    Json line{{"command", "sweep"}, {"name", setting.name}, {"model", options_.model.string()}};
    fs::path path = options_.model;
    if (!setting.method.empty()) {
      line["method"] = setting.method;
      line["bits"] = setting.bits;
      line["group_size"] = setting.group_size;
      path = MakeModel(setting, line);
    }
    MeasureModel(path, line);
    line["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!setting.method.empty() && !options_.keep_models) fs::remove_all(path);
    return line;
  }

  // Quantizes, unless an earlier run has come that far.
  fs::path MakeModel(const Setting& setting, Json& line) {
    QuantizeOptions quantize = OptionsFor(options_, setting);
    const fs::path report_path = options_.output / (setting.name + ".json");
    Json report;
    if (fs::exists(quantize.output) && fs::exists(report_path)) {
      report = ReadJsonFile(report_path);
    } else {
      quantize.overwrite = true;
      report = ToJson(Quantize(quantize, backend_, progress_));
      report["command"] = "quantize";
      WriteFileAtOnce(report_path, Dump(report) + "\n");
    }
    line["bits_per_weight"] = report.at("bits_per_weight");
    line["relative_error"] = report.at("mean_relative_error");
    return quantize.output;
  }

  void MeasureModel(const fs::path& path, Json& line) {
    const auto model = ModelFiles::Open(path, options_.given.architecture);
    const ModelSize size = MeasureSize(*model);
    line["bytes"] = size.bytes;
    if (!line.contains("bits_per_weight")) line["bits_per_weight"] = size.bits_per_weight;
    line["texts"] = Json::array();
    for (size_t text = 0; text < options_.texts.size(); ++text) line["texts"].push_back(Compare(path, text));
    line["tasks"] = Json::array();
    if (options_.tasks.empty()) return;
    const auto decoder = model->LoadDecoder(backend_, *options_.sequence_length);
    const Tokenizer tokenizer = model->LoadTokenizer();
    for (const auto& [name, data] : options_.tasks)
      line["tasks"].push_back(RunTask(*decoder, tokenizer, name, data));
  }

  Json Compare(const fs::path& path, size_t text) {
    const auto a = ModelFiles::Open(options_.model, options_.given.architecture);
    const auto b = ModelFiles::Open(path, options_.given.architecture);
    CompareOptions compare;
    compare.sequence_length = *options_.sequence_length;
    compare.windows = options_.windows;
    compare.reference_cache = ReferencePath(text);
    compare.worst_tokens = 0;
    const fs::path& data = options_.texts[text];
    Json json =
        ToJson(CompareModels(*a, *b, backend_, ReadTextFile(data), data.string(), compare, progress_));
    for (const char* key : {"blocks", "worst_tokens", "reference_from_cache"}) json.erase(key);
    json["data"] = data.string();
    return json;
  }

  Json RunTask(const Decoder& decoder, const Tokenizer& tokenizer, const std::string& name,
               const fs::path& data) {
    Json json;
    if (IsBias(name)) {
      const BiasSet set = name == "stereoset" ? BiasSet::kStereoSet : BiasSet::kCrowsPairs;
      std::vector<BiasExample> examples = ReadBiasExamples(set, data);
      KeepFirst(examples, options_.examples);
      json = ToJson(MeasureBias(decoder, tokenizer, set, examples, data.string(), progress_));
      json.erase("kinds");
    } else {
      const Task task = FindTask(name);
      std::vector<TaskExample> examples = MakeExamples(task, ReadDataRows(data), data.string());
      KeepFirst(examples, options_.examples);
      json = ToJson(MeasureTask(decoder, tokenizer, task, examples, data.string(), progress_), task);
    }
    json["task"] = name;
    json["data"] = data.string();
    return json;
  }

  const SweepOptions options_;
  Backend& backend_;
  Progress& progress_;
  std::vector<std::string> order_;    // of the lines in the file
  std::map<std::string, Json> done_;  // by name
};

}  // namespace

std::vector<Json> Sweep(const SweepOptions& options, Backend& backend, Progress& progress) {
  Sweeper sweeper(options, backend, progress);
  try {
    return sweeper.Run();
  } catch (const Interrupted&) {
    throw Interrupted("the same command goes on with the setting at which it was stopped");
  }
}

}  // namespace gptq
