// A decoder: embedding, blocks, head. Knows how to run; not where its weights come from, nor how they are
// quantized.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compute/backend.h"
#include "model/block.h"
#include "model/kv_cache.h"
#include "model/spec.h"
#include "model/weight_source.h"

namespace gptq {

constexpr int64_t kLogitRows = 256;  // of a text, whose logits are held at once

// What stands before and after the blocks.
class EmbeddingAndHead {
 public:
  EmbeddingAndHead(const ModelSpec& spec, WeightSource& source);

  // Makes state.hidden the residual stream [ids, hidden] before the first block; state.tokens ids each of the
  // sequences. Throws Error for an id outside the vocabulary or a position past the model's last.
  void Embed(Backend& backend, std::span<const int32_t> ids, BlockState& state) const;
  // Of sequences without a cache.
  Matrix Embed(Backend& backend, std::span<const int32_t> ids, int64_t tokens) const {
    BlockState state;
    state.tokens = tokens;
    Embed(backend, ids, state);
    return std::move(state.hidden);
  }
  // What the head multiplies, of rows of the last block's output; it lies in the backend's memory, or is
  // them.
  MatrixView HeadInput(Backend& backend, MatrixView hidden) const;
  // Logits [rows, vocabulary] of rows of the last block's output.
  void Logits(Backend& backend, MatrixView hidden, Matrix& logits) const;
  Matrix Logits(Backend& backend, MatrixView hidden) const {
    Matrix logits;
    Logits(backend, hidden, logits);
    return logits;
  }
  const Weight& head() const { return head_.empty() ? embedding_ : head_; }
  Weight& head() { return head_.empty() ? embedding_ : head_; }
  void SetHead(Weight head) { head_ = std::move(head); }
  void TileWeights(ThreadPool& pool, const std::function<void(const std::string& module)>& tiled);

 private:
  // The row of the table of positions for a row of `state`.
  int32_t LearnedPosition(const BlockState& state, int64_t row) const;

  const ModelSpec& spec_;
  Weight embedding_;
  Weight positions_;                 // learned positions, else empty
  Weight project_in_, project_out_;  // only where embedding_width != hidden
  std::optional<NormLayer> final_norm_;
  std::optional<NormLayer> embedding_norm_;
  Weight head_;  // empty if tied to the embedding
  std::vector<float> head_bias_;
};

class Decoder {
 public:
  // `source` must outlive the decoder. `max_tokens`: longest sequence that will be run.
  Decoder(ModelSpec spec, WeightSource& source, Backend& backend, int64_t max_tokens);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const ModelSpec& spec() const { return spec_; }
  Backend& backend() const { return backend_; }
  int64_t max_tokens() const { return max_tokens_; }
  std::vector<Block>& blocks() { return blocks_; }
  const PositionTables& positions() const { return positions_; }
  // Of F32, F16 or I8 (KvStore). Throws Error where the model has no next token.
  KvCache MakeCache(int64_t capacity, DType type = DType::kF16) const {
    spec_.CheckPredictsNext();
    return {spec_, capacity, type, backend_.memory()};
  }
  // Of the weights that a token multiplies; all experts are counted by their share of the tokens.
  double WeightBytesPerToken() const;
  // Of all blocks, in all loops, that a token multiplies.
  double MultipliedWeights() const;
  // Re-lays what the kernels of quantized weights can read (Weight::Tile), for many products. `tiled` is told
  // which module's stored weights are needed no more.
  void TileWeights(const std::function<void(const std::string& module)>& tiled);
  // Puts all quantized weights side by side into one piece of memory, in the order in which a token reads
  // them: the system gives it large pages, and a product's end already fetches the next one's begin.
  void JoinWeights();
  // Residual stream before the first block, for sequences of `tokens` ids from position 0.
  Matrix Embed(std::span<const int32_t> ids, int64_t tokens) const {
    return ends_.Embed(backend_, ids, tokens);
  }

  // Residual stream after the last block for sequences of `tokens` ids each, without a cache. `observe`, if
  // given, sees the residual stream after each block, blocks of later loops counted on.
  Matrix Run(std::span<const int32_t> ids, int64_t tokens,
             const std::function<void(int64_t block, MatrixView hidden)>& observe = nullptr) const;
  // Brings a residual stream before the first block through all blocks, once, on a backend of the caller's.
  void RunLoop(Backend& backend, BlockState& state) const;
  // All loops. The backend may take the rows for something else than one sequence (compute/tree_backend.h).
  // `longest`: tokens of the longest one.
  Matrix RunBlocks(Backend& backend, Matrix hidden, int64_t longest) const;
  // Appends `ids` to the cache and returns the residual stream of these tokens, which lies in the cache until
  // the next call.
  MatrixView Run(std::span<const int32_t> ids, KvCache& cache) const {
    KvCache* const one = &cache;
    return Run(ids, {&one, 1}, cache.state);
  }
  // The same for several sequences: as many ids for each cache, one sequence's after the other's. Every
  // weight is read once for all of them. The residual stream lies in `state`, whose memory is kept from call
  // to call.
  MatrixView Run(std::span<const int32_t> ids, std::span<KvCache* const> caches, BlockState& state) const;
  void Logits(MatrixView hidden, Matrix& logits) const { ends_.Logits(backend_, hidden, logits); }
  Matrix Logits(MatrixView hidden) const { return ends_.Logits(backend_, hidden); }
  MatrixView HeadInput(MatrixView hidden) const { return ends_.HeadInput(backend_, hidden); }
  const Weight& head() const { return ends_.head(); }
  void SetHead(Weight head) { ends_.SetHead(std::move(head)); }

 private:
  ModelSpec spec_;
  Backend& backend_;
  int64_t max_tokens_;
  EmbeddingAndHead ends_;
  std::vector<Block> blocks_;
  PositionTables positions_;
};

}  // namespace gptq
