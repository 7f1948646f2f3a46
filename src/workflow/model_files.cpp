#include "workflow/model_files.h"

#include <algorithm>

#include "model/gguf_model.h"
#include "quant/quantization_config.h"
#include "text/tokenizer_files.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

Json ReadConfig(const CheckpointReader& reader) {
  const fs::path path = reader.folder() / "config.json";
  if (!fs::exists(path)) {
    throw Error("no config.json", reader.folder().string(),
                "give a Hugging Face model folder or a .gguf file");
  }
  Json config = ReadJsonFile(path);
  if (!config.is_object()) throw Error("not a JSON object", path.string(), "fetch the file again");
  return config;
}

std::string ModelType(const Json& config, const std::string& where) {
  if (!config.contains("model_type") || !config.at("model_type").is_string()) {
    throw Error("key 'model_type' is missing", where, "is this a model's config.json?");
  }
  return config.at("model_type").get<std::string>();
}

// The quantization_config of config.json, or quantize_config.json beside it (older files).
std::optional<QuantizationConfig> ReadQuantization(const CheckpointReader& reader, const Json& config) {
  if (config.contains("quantization_config") && !config.at("quantization_config").is_null()) {
    return ParseQuantizationConfig(config.at("quantization_config"),
                                   (reader.folder() / "config.json").string());
  }
  const fs::path beside = reader.folder() / "quantize_config.json";
  if (!fs::exists(beside)) return std::nullopt;
  return ParseQuantizationConfig(ReadJsonFile(beside), beside.string());
}

}  // namespace

std::unique_ptr<ModelFiles> ModelFiles::Open(const fs::path& path, const fs::path& architecture_file) {
  std::unique_ptr<ModelFiles> model(new ModelFiles(CheckpointReader::Open(path)));
  const GgufFile* gguf = model->reader_.gguf();
  std::string where = path.string();
  if (gguf != nullptr) {
    model->architecture_ =
        architecture_file.empty()
            ? ArchitectureForGguf(gguf->String("general.architecture"), GgufMetadataJson(*gguf), where)
            : ReadArchitectureFile(architecture_file);
    model->config_ = ConfigFromGguf(*gguf, model->architecture_);
  } else {
    where = (model->reader_.folder() / "config.json").string();
    model->config_ = ReadConfig(model->reader_);
    model->architecture_ = architecture_file.empty()
                               ? ArchitectureForModelType(ModelType(model->config_, where), where)
                               : ReadArchitectureFile(architecture_file);
    model->quantization_ = ReadQuantization(model->reader_, model->config_);
  }
  model->spec_ = BuildSpec(model->architecture_, model->config_, where);
  const std::string& prefix = model->spec_.optional_prefix;
  if (gguf == nullptr && std::ranges::none_of(model->reader_.names(), [&](const std::string& name) {
        return name.starts_with(prefix);
      }))
    model->spec_.DropPrefix();
  model->source_ = std::make_unique<CheckpointSource>(model->reader_, model->architecture_, model->spec_,
                                                      model->quantization_);
  return model;
}

std::unique_ptr<Decoder> ModelFiles::LoadDecoder(Backend& backend, int64_t max_tokens) {
  source_->UsePool(&backend.pool());
  auto decoder = std::make_unique<Decoder>(spec_, *source_, backend, max_tokens);
  source_->UsePool(nullptr);
  source_->CheckAllRead();
  return decoder;
}

std::unique_ptr<Decoder> ModelFiles::LoadEngine(Backend& backend, int64_t max_tokens, int activation_bits) {
  backend.SetActivationBits(activation_bits);
  std::unique_ptr<Decoder> decoder = LoadDecoder(backend, max_tokens);
  if (activation_bits == 32) return decoder;
  decoder->TileWeights([&](const std::string& module) { source_->Release(module); });
  decoder->JoinWeights();
  return decoder;
}

Tokenizer ModelFiles::LoadTokenizer() const {
  if (is_gguf()) return TokenizerFromGguf(ReadGgufVocabulary(*reader_.gguf()), reader_.path().string());
  return gptq::LoadTokenizer(reader_.folder());
}

Tokenizer OpenTokenizer(const fs::path& path) {
  if (!fs::exists(path)) throw Error("no such file or folder", path.string(), "check the path");
  if (fs::is_directory(path)) return gptq::LoadTokenizer(path);
  if (GgufFile::LooksLike(path))
    return TokenizerFromGguf(ReadGgufVocabulary(GgufFile::Open(path)), path.string());
  return gptq::LoadTokenizer(path);
}

}  // namespace gptq
