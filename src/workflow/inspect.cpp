#include "workflow/inspect.h"

#include <fstream>
#include <map>

#include "io/checkpoint.h"
#include "quant/quantization_config.h"
#include "workflow/model_size.h"

namespace gptq {
namespace {

void DescribeGguf(const GgufFile& file, Json* report) {
  (*report)["architecture"] = file.FindString("general.architecture").value_or("unknown");
  const std::string prefix = file.FindString("general.architecture").value_or("") + ".";
  if (const auto context = file.FindInteger(prefix + "context_length")) (*report)["context"] = *context;
  if (const auto* tokens = file.FindStrings("tokenizer.ggml.tokens"))
    (*report)["vocabulary"] = tokens->size();
}

std::optional<QuantizationConfig> DescribeFolder(const CheckpointReader& reader, Json* report) {
  const std::filesystem::path path = reader.folder() / "config.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  const Json config = ReadJsonFile(path);
  if (!config.is_object()) return std::nullopt;
  (*report)["architecture"] = config.value("model_type", Json("unknown"));
  (*report)["context"] = config.value("max_position_embeddings", Json());
  (*report)["vocabulary"] = config.value("vocab_size", Json());
  if (!config.contains("quantization_config")) return std::nullopt;
  (*report)["quantization"] = config.at("quantization_config");
  return ParseQuantizationConfig(config.at("quantization_config"), path.string());
}

}  // namespace

Json License(const CheckpointReader& reader) {
  if (reader.gguf() != nullptr) {
    const auto license = reader.gguf()->FindString("general.license");
    return license ? Json(*license) : Json();
  }
  std::ifstream card(reader.folder() / "README.md");
  std::string line;
  for (int number = 0; number < 100 && std::getline(card, line); ++number) {
    if (line.starts_with("license:"))
      return line.substr(
          line.find_first_not_of(" \t", 8) == std::string::npos ? 8 : line.find_first_not_of(" \t", 8));
    if (number > 0 && line == "---") break;
  }
  return nullptr;
}

Json InspectModel(const std::filesystem::path& path) {
  const CheckpointReader reader = CheckpointReader::Open(path);
  Json report{{"architecture", nullptr},
              {"quantization", nullptr},
              {"license", License(reader)},
              {"bytes", reader.tensor_bytes()}};
  std::optional<QuantizationConfig> quantization;
  if (reader.gguf() != nullptr) {
    DescribeGguf(*reader.gguf(), &report);
  } else {
    quantization = DescribeFolder(reader, &report);
  }
  int64_t parameters = 0;
  std::map<std::string, int64_t> types;
  Json tensors = Json::array();
  for (const std::string& name : reader.names()) {
    const TensorView view = reader.Get(name);
    parameters += StoredParameters(reader, name, view, quantization);
    ++types[std::string(Name(view.dtype))];
    tensors.push_back({{"name", name}, {"dtype", Name(view.dtype)}, {"shape", view.shape}});
  }
  report["parameters"] = parameters;
  report["types"] = types;
  report["tensors"] = std::move(tensors);
  return report;
}

}  // namespace gptq
