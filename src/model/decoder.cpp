#include "model/decoder.h"

#include <algorithm>
#include <numeric>

namespace gptq {

EmbeddingAndHead::EmbeddingAndHead(const ModelSpec& spec, WeightSource& source) : spec_(spec) {
  embedding_ = source.Matrix(spec.Name("embedding"), spec.vocabulary, spec.embedding_width);
  if (spec.positions == PositionKind::kLearned) {
    positions_ =
        source.Matrix(spec.Name("positions"), spec.max_positions + spec.position_offset, spec.hidden);
  }
  if (spec.embedding_width != spec.hidden) {
    if (!spec.Has("project_in") || !spec.Has("project_out")) {
      throw Error("embeddings narrower than the blocks need a projection", spec.where,
                  Concat("architecture '", spec.architecture, "' names none"));
    }
    project_in_ = source.Matrix(spec.Name("project_in"), spec.hidden, spec.embedding_width);
    project_out_ = source.Matrix(spec.Name("project_out"), spec.embedding_width, spec.hidden);
  }
  if (spec.Has("embedding_norm")) embedding_norm_ = LoadNorm(spec, source, "embedding_norm", -1, spec.hidden);
  // Post-norm models normalize at the end of each block and may have no norm after the last.
  const bool must_have_norm = spec.block == BlockShape::kPreNorm || !spec.norm_weights;
  if (must_have_norm || source.FindVector(spec.Name("final_norm"), "weight", spec.hidden))
    final_norm_ = LoadNorm(spec, source, "final_norm", -1, spec.hidden);
  if (!spec.tied_head) head_ = source.Matrix(spec.Name("head"), spec.vocabulary, spec.embedding_width);
  head_bias_ = source.FindVector(spec.Name("head"), "bias", spec.vocabulary).value_or(std::vector<float>{});
}

int32_t EmbeddingAndHead::LearnedPosition(const BlockState& state, int64_t row) const {
  const auto sequence = static_cast<size_t>(row / state.tokens);
  const int64_t first = state.cached.empty() ? 0 : state.cached[sequence].first_position;
  const int64_t position = first + row % state.tokens;
  if (position >= spec_.max_positions) {
    throw Error(Concat("position ", position + 1, " is past the model's last, ", spec_.max_positions),
                spec_.where, "use shorter sequences");
  }
  return static_cast<int32_t>(position + spec_.position_offset);
}

void EmbeddingAndHead::Embed(Backend& backend, std::span<const int32_t> ids, BlockState& state) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= spec_.vocabulary) {
      throw Error(Concat("token id ", id, " is outside the vocabulary of ", spec_.vocabulary), spec_.where,
                  "use the tokens of this model's own tokenizer");
    }
  }
  Matrix& embedded = state.hidden;
  const auto rows = static_cast<int64_t>(ids.size());
  backend.Resize(embedded, rows, spec_.embedding_width);
  backend.Embed(embedding_, ids, embedded.view());
  if (!project_in_.empty()) {
    Matrix projected(rows, spec_.hidden, backend.memory());
    backend.Linear(embedded.view(), project_in_, {}, projected.view());
    embedded = std::move(projected);
  }
  if (!positions_.empty()) {
    std::vector<int32_t> places;
    for (int64_t t = 0; t < rows; ++t) places.push_back(LearnedPosition(state, t));
    Matrix position(rows, spec_.hidden, backend.memory());
    backend.Embed(positions_, places, position.view());
    backend.Add(embedded.view(), position.view());
  }
  if (spec_.embedding_scale != 1) backend.Scale(embedded.view(), static_cast<float>(spec_.embedding_scale));
  if (embedding_norm_) Normalize(backend, spec_, *embedding_norm_, embedded.view(), embedded.view());
}

MatrixView EmbeddingAndHead::HeadInput(Backend& backend, MatrixView hidden) const {
  MatrixView input = hidden;
  if (final_norm_) {
    input = backend.Scratch(0, hidden.rows, hidden.columns);
    Normalize(backend, spec_, *final_norm_, hidden, input);
  }
  if (!project_out_.empty()) {
    const MatrixView projected = backend.Scratch(1, hidden.rows, spec_.embedding_width);
    backend.Linear(input, project_out_, {}, projected);
    input = projected;
  }
  return input;
}

void EmbeddingAndHead::Logits(Backend& backend, MatrixView hidden, Matrix& logits) const {
  const MatrixView input = HeadInput(backend, hidden);
  backend.Resize(logits, hidden.rows, spec_.vocabulary);
  backend.Linear(input, head_.empty() ? embedding_ : head_, head_bias_, logits.view());
  if (spec_.logit_scale != 1) backend.Scale(logits.view(), static_cast<float>(spec_.logit_scale));
  if (spec_.logit_softcap > 0) backend.Softcap(logits.view(), static_cast<float>(spec_.logit_softcap));
}

Decoder::Decoder(ModelSpec spec, WeightSource& source, Backend& backend, int64_t max_tokens)
    : spec_(std::move(spec)), backend_(backend), max_tokens_(max_tokens), ends_(spec_, source) {
  blocks_.reserve(static_cast<size_t>(spec_.layers));
  for (int64_t i = 0; i < spec_.layers; ++i) blocks_.emplace_back(spec_, i, source);
  positions_ = PositionTables(spec_, max_tokens);
}

void EmbeddingAndHead::TileWeights(ThreadPool& pool,
                                   const std::function<void(const std::string& module)>& tiled) {
  if (embedding_.Tile(pool)) tiled(spec_.Name("embedding"));
  if (head_.Tile(pool)) tiled(spec_.Name("head"));
}

void Decoder::TileWeights(const std::function<void(const std::string& module)>& tiled) {
  ends_.TileWeights(backend_.pool(), tiled);
  for (Block& block : blocks_) {
    for (Stage& stage : block.stages()) {
      for (LinearLayer& linear : stage.linears) {
        if (linear.weight.Tile(backend_.pool())) tiled(linear.name);
      }
    }
  }
}

void Decoder::JoinWeights() {
  std::vector<Weight*> weights;
  for (Block& block : blocks_) {
    for (Stage& stage : block.stages()) {
      for (LinearLayer& linear : stage.linears) weights.push_back(&linear.weight);
    }
  }
  weights.push_back(&ends_.head());
  std::erase_if(weights, [](const Weight* weight) { return weight->tiled() == nullptr; });
  int64_t bytes = 0;
  for (const Weight* weight : weights) bytes += weight->tiled()->line_bytes();
  if (bytes == 0) return;
  const auto memory = std::make_shared<Tensor>(Tensor::Uninitialized(DType::kU8, {bytes}));
  int64_t offset = 0;
  for (Weight* weight : weights) {
    const int64_t taken = weight->tiled()->line_bytes();
    weight->MoveTo(memory, offset);
    offset += taken;
  }
}

double Decoder::MultipliedWeights() const {
  double weights = 0;
  for (const Block& block : blocks_) {
    for (const Stage& stage : block.stages()) weights += stage.MultipliedWeights(spec_);
  }
  return weights * static_cast<double>(spec_.loops);
}

double Decoder::WeightBytesPerToken() const {
  double bytes = 0;
  for (const Block& block : blocks_) {
    for (const Stage& stage : block.stages()) {
      double stored = 0, elements = 0;
      for (const LinearLayer& linear : stage.linears) {
        stored += static_cast<double>(linear.weight.bytes());
        elements += static_cast<double>(linear.weight.rows() * linear.weight.columns());
      }
      if (elements > 0) bytes += stored * stage.MultipliedWeights(spec_) / elements;
    }
  }
  return bytes * static_cast<double>(spec_.loops) + static_cast<double>(ends_.head().bytes());
}

Matrix Decoder::Run(std::span<const int32_t> ids, int64_t tokens,
                    const std::function<void(int64_t, MatrixView)>& observe) const {
  CHECK(tokens > 0 && tokens <= max_tokens_ && static_cast<int64_t>(ids.size()) % tokens == 0);
  BlockState state;
  state.sequences = static_cast<int64_t>(ids.size()) / tokens;
  state.tokens = tokens;
  ends_.Embed(backend_, ids, state);
  for (int64_t i = 0; i < spec_.layers * spec_.loops; ++i) {
    blocks_[static_cast<size_t>(i % spec_.layers)].Forward(backend_, positions_, state);
    if (observe) observe(i, state.hidden.view());
  }
  return std::move(state.hidden);
}

void Decoder::RunLoop(Backend& backend, BlockState& state) const {
  for (const Block& block : blocks_) block.Forward(backend, positions_, state);
}

Matrix Decoder::RunBlocks(Backend& backend, Matrix hidden, int64_t longest) const {
  BlockState state;
  state.tokens = hidden.rows();
  state.longest = longest;
  state.hidden = std::move(hidden);
  for (int64_t loop = 0; loop < spec_.loops; ++loop) RunLoop(backend, state);
  return std::move(state.hidden);
}

MatrixView Decoder::Run(std::span<const int32_t> ids, std::span<KvCache* const> caches,
                        BlockState& state) const {
  CHECK(!caches.empty() && ids.size() % caches.size() == 0);
  state.sequences = static_cast<int64_t>(caches.size());
  state.tokens = static_cast<int64_t>(ids.size() / caches.size());
  state.cached.resize(caches.size());
  for (size_t s = 0; s < caches.size(); ++s) {
    const int64_t longest = std::min(caches[s]->capacity, max_tokens_);
    CHECK(state.tokens > 0 && caches[s]->tokens + state.tokens <= longest);
    state.cached[s] = {nullptr, caches[s]->tokens, longest};
  }
  ends_.Embed(backend_, ids, state);
  const auto run_blocks = [&] {
    for (size_t i = 0; i < caches[0]->layers.size(); ++i) {
      for (size_t s = 0; s < caches.size(); ++s) state.cached[s].layer = &caches[s]->layers[i];
      blocks_[i % blocks_.size()].Forward(backend_, positions_, state);
    }
  };
  if (ids.size() == 1 && &state == &caches[0]->state) {
    backend_.Step(caches[0]->step, caches[0]->tokens, run_blocks);
  } else {
    run_blocks();
  }
  for (KvCache* cache : caches) cache->tokens += state.tokens;
  return state.hidden.view();
}

}  // namespace gptq
