#include "workflow/reference_states.h"

#include <chrono>
#include <cstring>
#include <set>

#include "io/safetensors_writer.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKeyName = "gptq_reference";  // of the cache's metadata
constexpr const char* kTensorName = "hidden";

// FNV-1a: finds another text, not a forger.
uint64_t Hash(std::span<const int32_t> ids) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const std::byte byte : std::as_bytes(ids))
    hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  return hash;
}

// All that the states depend on. The tokens stand for the text and the tokenizer.
std::string CacheKey(const ModelFiles& model, const TextWindows& windows) {
  std::set<std::string> files;
  for (const std::string& name : model.reader().names()) files.insert(model.reader().FileOf(name));
  Json file_list = Json::array();
  for (const std::string& file : files) {
    const auto modified = fs::last_write_time(file).time_since_epoch();
    file_list.push_back({fs::canonical(file).string(), fs::file_size(file),
                         std::chrono::duration_cast<std::chrono::nanoseconds>(modified).count()});
  }
  return Dump(Json{{"version", GPTQ_VERSION},
                   {"files", file_list},
                   {"config", model.config()},
                   {"architecture", model.spec().architecture},
                   {"tokens", Concat(std::hex, Hash(windows.ids))},
                   {"windows", windows.count},
                   {"sequence_length", windows.length}});
}

}  // namespace

ReferenceStates::ReferenceStates(ModelFiles& model, Backend& backend, const TextWindows& windows,
                                 const fs::path& cache)
    : model_(model), backend_(backend), windows_(windows) {
  const std::string key = cache.empty() ? "" : CacheKey(model, windows);
  if (fs::exists(cache)) OpenCache(cache, key);
  if (from_cache()) {
    ends_ = std::make_unique<EmbeddingAndHead>(model.spec(), model.source());
    return;
  }
  if (!cache.empty()) BeginCache(cache, key);
  decoder_ = model.LoadDecoder(backend, windows.length);
}

void ReferenceStates::OpenCache(const fs::path& path, const std::string& key) {
  SafetensorsFile file = SafetensorsFile::Open(path);
  const auto found = file.metadata().find(kKeyName);
  if (found == file.metadata().end()) {
    throw Error("not a file that --reference-cache wrote", path.string(),
                "give another path, or remove the file if it is not needed");
  }
  const std::optional<TensorView> states = file.Find(kTensorName);
  const Shape shape{windows_.count, windows_.length, model_.spec().hidden};
  if (found->second == key && states && states->dtype == DType::kF32 && states->shape == shape)
    cached_ = std::move(file);
}

void ReferenceStates::BeginCache(const fs::path& path, const std::string& key) {
  const TensorFileLayout layout =
      LayOutSafetensors({{kTensorName, DType::kF32, {windows_.count, windows_.length, model_.spec().hidden}}},
                        {{kKeyName, key}});
  output_ = std::make_unique<OutputFile>(path, /*overwrite=*/true);
  file_ = WritableFile::Replace(output_->file());
  file_->Preallocate(layout.file_bytes);
  file_->WriteAt(0, layout.header);
  data_offset_ = layout.offsets[0];
}

Matrix ReferenceStates::Hidden(int64_t window, const std::function<void(int64_t, MatrixView)>& observe) {
  const int64_t bytes = windows_.length * model_.spec().hidden * static_cast<int64_t>(sizeof(float));
  if (from_cache()) {
    Matrix hidden(windows_.length, model_.spec().hidden);
    const std::byte* begin = cached_->Get(kTensorName).data + window * bytes;
    std::memcpy(hidden.data(), begin, static_cast<size_t>(bytes));
    cached_->file()->Release(begin, bytes);
    return hidden;
  }
  Matrix hidden = decoder_->Run(windows_.window(window), windows_.length, observe);
  if (file_) {
    decoder_->backend().MakeReadable(hidden);
    file_->WriteAt(data_offset_ + window * bytes,
                   std::as_bytes(std::span(hidden.data(), static_cast<size_t>(hidden.view().elements()))));
  }
  return hidden;
}

Matrix ReferenceStates::Logits(MatrixView hidden) const {
  return from_cache() ? ends_->Logits(backend_, hidden) : decoder_->Logits(hidden);
}

void ReferenceStates::Commit() {
  if (!output_) return;
  file_->Sync();
  file_->Close();
  output_->Commit();
}

}  // namespace gptq
