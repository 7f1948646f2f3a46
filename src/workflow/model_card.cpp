#include "workflow/model_card.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include "workflow/inspect.h"
#include "workflow/output_form.h"

namespace gptq {
namespace {

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

// The first heading of the source's card.
std::optional<std::string> Heading(const ModelFiles& source) {
  std::ifstream card(source.reader().folder() / kModelCard);
  std::string line;
  for (int number = 0; number < 200 && std::getline(card, line); ++number) {
    if (line.starts_with("# ") && line.size() < 200) return line.substr(2);
  }
  return std::nullopt;
}

// The name that the model has given itself, if any; not that of its folder, so that the card is the same
// wherever that lies.
std::optional<std::string> NameOf(const ModelFiles& source) {
  if (const GgufFile* gguf = source.reader().gguf()) return gguf->FindString("general.name");
  const Json name = source.config().value("_name_or_path", Json());
  // A path of somebody's machine is no name.
  if (name.is_string() && !name.get<std::string>().empty() && !name.get<std::string>().starts_with('/'))
    return name.get<std::string>();
  return Heading(source);
}

std::string Option(const Json& settings, const char* name) {
  const auto found = settings.find(name);
  if (found == settings.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : Dump(*found);
}

// "owner/name", as hubs take it.
bool IsRepository(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == name.size() || name.starts_with('.'))
    return false;
  return std::ranges::count(name, '/') == 1 && std::ranges::all_of(name, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) ||
                  std::string_view("-_./").find(c) != std::string_view::npos;
         });
}

// Bits and group size -> how many linears have them.
std::map<std::pair<int, int64_t>, int64_t> KindsOf(const QuantizeReport& report) {
  std::map<std::pair<int, int64_t>, int64_t> kinds;
  for (const LayerReport& layer : report.layers) ++kinds[{layer.bits, layer.group_size}];
  return kinds;
}

std::string Tags(const QuantizeReport& report) {
  const bool compressed = Option(report.settings, "--format") == Name(WeightFormat::kCompressedTensors);
  std::string tags = compressed ? "compressed-tensors" : "gptq";
  std::set<int> widths;
  for (const LayerReport& layer : report.layers) widths.insert(layer.bits);
  for (const int bits : widths) tags += Concat(", ", bits, "-bit");
  return tags + ", gptq.cpp";
}

// A JSON string is a YAML string, whatever stands in it.
std::string FrontMatter(const QuantizeReport& report, const ModelFiles& source) {
  std::string text = "---\n";
  if (const Json license = License(source.reader()); license.is_string())
    text += "license: " + Dump(license) + "\n";
  if (const auto name = NameOf(source); name && IsRepository(*name))
    text += "base_model: " + Dump(Json(*name)) + "\nbase_model_relation: quantized\n";
  text += "library_name: transformers\npipeline_tag: text-generation\n";
  return text + "tags: [" + Tags(report) + "]\n---\n";
}

// A cell must not end its row.
std::string Cell(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  std::ranges::replace(text, '|', '/');
  return text;
}

std::string SettingsTable(const Json& settings) {
  std::string text = "| setting | value |\n|---|---|\n";
  for (const auto& [name, value] : settings.items()) {
    const bool unused =
        value.is_null() || value == Json(0) || value == Json(false) || (value.is_array() && value.empty());
    if (name.starts_with("--") && !unused)
      text += "| `" + name + "` | " + Cell(Option(settings, name.c_str())) + " |\n";
  }
  return text;
}

std::string Loss(const QuantizeReport& report) {
  const LayerReport* worst = nullptr;
  for (const LayerReport& layer : report.layers) {
    if (layer.relative_error && (worst == nullptr || *layer.relative_error > *worst->relative_error))
      worst = &layer;
  }
  if (worst == nullptr) return "Nothing was measured: rounding to nearest looks at no data.";
  return Concat("Relative error of the linears' outputs on the calibration tokens: ",
                Number(*report.MeanRelativeError()), " on average, ", Number(*worst->relative_error),
                " at worst (`", worst->name, "`).");
}

std::string Calibration(const QuantizeReport& report) {
  if (report.calibration_tokens == 0) return "";
  const std::string text = report.calibration_file.empty()
                               ? "the program's own set (124 documents of allenai/c4)"
                               : Concat("`", Cell(report.calibration_file.filename().string()), "`");
  return Concat("Calibrated with ", report.calibration_tokens, " tokens in ", report.calibration_samples,
                " sequences",
                report.sink_sequences > 0 ? Concat(" and ", report.sink_sequences, " single tokens") : "",
                " of ", text, ".\n\n");
}

// What became of the linears, where they differ.
std::string Kinds(const QuantizeReport& report) {
  const auto kinds = KindsOf(report);
  if (kinds.size() < 2) return "";
  std::string text;
  for (const auto& [kind, count] : kinds) {
    const auto& [bits, group_size] = kind;
    text += Concat(text.empty() ? "" : ", ", count, " of ", bits, " bits in ",
                   group_size < 0 ? "whole rows" : Concat("groups of ", group_size));
  }
  return " (" + text + ")";
}

std::string Rest(const ModelFiles& source) {
  if (!source.is_gguf()) return "everything else is as it was";
  return Concat("everything else is ", FloatTypeOf(source) == DType::kBF16 ? "bfloat16" : "float16");
}

constexpr const char* kHowToLoad = R"(## How to load it
```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("PATH", device_map="auto")
tokenizer = AutoTokenizer.from_pretrained("PATH")
```
)";

std::string HowToLoad(std::span<const std::string> refusals) {
  const bool vllm = std::ranges::none_of(
      refusals, [](const std::string& text) { return text.find("vLLM") != std::string::npos; });
  std::string text = Concat(kHowToLoad, "or ", vllm ? "`vllm serve PATH`, or " : "",
                            "`gptq generate PATH --prompt \"...\"`.");
  if (!refusals.empty()) text += " Not every program reads it:\n";
  for (const std::string& refusal : refusals) text += "\n- " + Cell(refusal);
  return text + "\n";
}

}  // namespace

std::string ModelCard(const QuantizeReport& report, const ModelFiles& source,
                      std::span<const std::string> refusals) {
  const std::string name = NameOf(source).value_or(Concat("A ", source.spec().architecture, " model")),
                    method = Option(report.settings, "--method");
  std::string bits = Number(report.bits_per_weight);
  return FrontMatter(report, source) + "# " + Cell(name) + ", quantized\n" +
         Concat(Cell(name), " quantized by gptq.cpp ", GPTQ_VERSION, ": ", report.layers.size(),
                " linears by `", method, "`", Kinds(report), ", ", bits,
                " stored bits per weight, in the format `", Option(report.settings, "--format"), "`; ",
                Rest(source), ".\n\n") +
         Calibration(report) + "## What was lost\n" + Loss(report) +
         "\n\n`gptq compare BASE PATH --data TEXT` measures perplexity and divergence from the base model on "
         "any "
         "text, `gptq evaluate PATH --task ...` zero-shot tasks.\n\n" +
         HowToLoad(refusals) + "\n## Settings\n" + SettingsTable(report.settings);
}

std::string CardSource(const ModelFiles& source) {
  return NameOf(source).value_or("") + "\n" + Dump(License(source.reader()));
}

std::optional<std::string> ConvertedCard(const ModelFiles& source, std::string_view format) {
  const std::filesystem::path path = source.reader().folder() / kModelCard;
  if (source.is_gguf() || !std::filesystem::exists(path)) return std::nullopt;
  std::string card = ReadTextFile(path);
  const std::string note =
      Concat("> Converted by gptq.cpp ", GPTQ_VERSION, " to the format `", format, "`.\n\n");
  size_t place = 0;  // behind the front matter
  if (card.starts_with("---\n")) {
    const size_t end = card.find("\n---\n", 3);
    if (end != std::string::npos) place = end + 5;
  }
  return card.insert(place, note);
}

}  // namespace gptq
