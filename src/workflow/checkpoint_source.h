// A checkpoint's tensors as the model asks for them: names, row order and quantized storage resolved.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "model/architecture.h"
#include "model/gguf_layout.h"
#include "model/spec.h"
#include "model/weight_source.h"
#include "quant/quantization_config.h"

namespace gptq {

class CheckpointSource : public WeightSource {
 public:
  // The reader must outlive this. `quantization`: of a GPTQ checkpoint.
  CheckpointSource(const CheckpointReader& reader, const Architecture& architecture, const ModelSpec& spec,
                   std::optional<QuantizationConfig> quantization);

  // Shares the work of re-laying quantized matrices; must outlive the calls.
  void UsePool(ThreadPool* pool) { pool_ = pool; }

  std::optional<Weight> FindMatrix(const std::string& module, int64_t rows, int64_t columns,
                                   MatrixLayout layout) override;
  std::optional<std::vector<float>> FindVector(const std::string& module, const std::string& kind,
                                               int64_t size) override;
  std::string StoredName(const std::string& module, const std::string& kind) const override;
  std::string Where() const override { return reader_.path().string(); }

  // The stored tensor MODULE.`kind`, or the part of a GGUF tensor that it is, and what GGUF does to it: rows
  // in another order, and a number added to each value.
  struct Stored {
    std::string name;
    TensorView view;
    std::vector<int32_t> row_order;
    float added = 0;
  };
  std::optional<Stored> Find(const std::string& module, const std::string& kind) const;
  // A matrix that a GGUF file keeps in several tensors, put together; nothing where it does not.
  std::optional<Tensor> Joined(const std::string& module) const;
  const ModelSpec& spec() const { return spec_; }
  // Of a GGUF file.
  const std::map<std::string, GgufPlace>& places() const { return places_; }

  // Reads all tensors, a piece at a time. Throws Error naming one that the model has asked for and that holds
  // NaN or infinity: before hours of work, not after. Returns a hash of all names, types, shapes and values.
  uint64_t CheckContents(ThreadPool& pool) const;
  // MODULE.weight's pages no longer count as this process's memory until they are touched again.
  void Release(const std::string& module) const;
  int64_t StoredBytes(const std::string& module) const;  // of MODULE.weight
  void ReleaseAll() const;                               // and those of all other tensors
  // Throws Error naming a tensor that nobody has asked for: the model computes something else than we think.
  void CheckAllRead() const;
  // Things worth telling the user (mislabelled files ...).
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  uint64_t CheckPiece(const std::string& name, const TensorView& view, int64_t first, int64_t count) const;
  std::optional<Weight> FindJoined(const std::string& module, int64_t rows, int64_t columns);
  std::optional<Weight> FindPacked(const std::string& module, int64_t rows, int64_t columns);

  ThreadPool* pool_ = nullptr;
  const CheckpointReader& reader_;
  const Architecture& architecture_;
  const ModelSpec& spec_;
  std::optional<QuantizationConfig> quantization_;
  std::map<std::string, GgufPlace> places_;
  std::set<std::string> read_;
  std::vector<std::string> warnings_;
};

}  // namespace gptq
