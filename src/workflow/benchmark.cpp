#include "workflow/benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "base/half.h"
#include "model/architecture.h"

namespace gptq {
namespace {

constexpr int kRounds = 3;

struct NamedShape {
  int64_t hidden, layers, intermediate, heads, kv_heads, vocabulary;
  bool tied;
};

const std::map<std::string, NamedShape>& NamedShapes() {
  static const std::map<std::string, NamedShape> shapes = {
      {"smollm2-135m", {576, 30, 1536, 9, 3, 49152, true}},
      {"llama-1b", {2048, 22, 5632, 32, 4, 32000, false}},
      {"llama-7b", {4096, 32, 11008, 32, 32, 32000, false}},
  };
  return shapes;
}

// Cheap, and without a pattern that memory or kernels could profit from.
class Noise {
 public:
  uint32_t Next() {
    return static_cast<uint32_t>((state_ = state_ * 6364136223846793005u + 1442695040888963407u) >> 33);
  }

 private:
  uint64_t state_ = 1;
};

class RandomSource : public WeightSource {
 public:
  RandomSource(const ModelSpec& spec, const RandomWeights& weights, ThreadPool& pool)
      : spec_(spec), weights_(weights), pool_(pool) {}

  std::optional<Weight> FindMatrix(const std::string& module, int64_t rows, int64_t columns,
                                   MatrixLayout) override {
    const bool embedding = module == spec_.Name("embedding");
    const bool head = (spec_.Has("head") && module == spec_.Name("head")) || (embedding && spec_.tied_head);
    if (head && weights_.head_bits < 16) return Quantized(rows, columns, weights_.head_bits);
    if (head || embedding) return Halves(rows, columns);
    return Quantized(rows, columns, weights_.bits);
  }

  std::optional<std::vector<float>> FindVector(const std::string&, const std::string& kind,
                                               int64_t size) override {
    if (kind != "weight") return std::nullopt;
    return std::vector<float>(static_cast<size_t>(size), 1.0f);
  }
  std::string Where() const override { return spec_.where; }

 private:
  Weight Quantized(int64_t rows, int64_t columns, int bits) {
    PackedWeight packed;
    packed.rows = rows, packed.columns = columns, packed.bits = bits;
    packed.group_size = weights_.group_size > 0 ? std::min(weights_.group_size, columns) : columns;
    packed.groups = (columns + packed.group_size - 1) / packed.group_size;
    packed.codes.resize(static_cast<size_t>(rows * columns));
    for (uint8_t& code : packed.codes) code = static_cast<uint8_t>(noise_.Next() & ((1u << bits) - 1));
    const float scale = HalfToFloat(
        FloatToHalf(3.0f / std::sqrt(static_cast<float>(columns)) / static_cast<float>(1 << bits)));
    packed.scales.assign(static_cast<size_t>(rows * packed.groups), scale);
    packed.zeros.assign(packed.scales.size(), static_cast<int16_t>(1 << (bits - 1)));
    for (int64_t c = 0; c < columns; ++c)
      packed.group_index.push_back(static_cast<int32_t>(c / packed.group_size));
    return Weight(packed, &pool_);
  }

  Weight Halves(int64_t rows, int64_t columns) {
    Tensor tensor = Tensor::Uninitialized(DType::kF16, {rows, columns});
    for (uint16_t& value : tensor.As<uint16_t>())
      value = static_cast<uint16_t>(0x2000 | (noise_.Next() & 0x83ff));
    return Weight(std::move(tensor));
  }

  const ModelSpec& spec_;
  RandomWeights weights_;
  ThreadPool& pool_;
  Noise noise_;
};

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<int32_t> SomeIds(const ModelSpec& spec, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * 7919 % spec.vocabulary));
  return ids;
}

double PrefillSeconds(const Decoder& decoder, int64_t tokens, int kv_bits) {
  const std::vector<int32_t> ids = SomeIds(decoder.spec(), tokens);
  KvCache cache = decoder.MakeCache(tokens, KvType(kv_bits));
  return Seconds([&] { (void)decoder.Logits(decoder.Run(ids, cache).Rows(tokens - 1, 1)); });
}

// Decoding, and the read bandwidth in between.
class DecodeTest {
 public:
  DecodeTest(const Decoder& decoder, const SpeedOptions& options)
      : decoder_(decoder),
        context_(options.context_tokens),
        tokens_(options.decode_tokens),
        ids_(SomeIds(decoder.spec(), context_ + tokens_)),
        bandwidth_(decoder.backend().pool()) {
    for (int64_t i = 0; i < options.sequences; ++i) {
      caches_.push_back(decoder.MakeCache(context_ + tokens_, KvType(options.kv_bits)));
      if (context_ > 0) decoder.Run(std::span(ids_).first(static_cast<size_t>(context_)), caches_.back());
    }
    for (KvCache& cache : caches_) together_.push_back(&cache);
    ids_together_.resize(caches_.size());
  }

  void Round() {
    double total = 0, before = Bandwidth();
    for (KvCache& cache : caches_) cache.tokens = context_;
    for (int64_t first = 0; first < tokens_; first += kTokensBetween) {
      const int64_t count = std::min(kTokensBetween, tokens_ - first);
      const double seconds =
          Tokens(std::span(ids_).subspan(static_cast<size_t>(context_ + first), static_cast<size_t>(count)));
      const double after = Bandwidth();
      total += seconds;
      shares_.push_back(static_cast<double>(count) * sequences() / seconds / ((before + after) / 2));
      before = after;
    }
    best_rate_ = std::max(best_rate_, static_cast<double>(tokens_) * sequences() / total);
  }

  double sequences() const { return static_cast<double>(caches_.size()); }
  double cache_bytes_per_token() const { return caches_[0].BytesPerToken(); }

  double best_bandwidth() const { return best_bandwidth_; }
  double best_rate() const { return best_rate_; }  // tokens a second of a round
  double fastest() const { return fastest_; }      // seconds of a token
  double MedianShare() {                           // tokens for each byte that could have been read
    const auto middle = shares_.begin() + static_cast<ptrdiff_t>(shares_.size() / 2);
    std::nth_element(shares_.begin(), middle, shares_.end());
    return *middle;
  }

 private:
  static constexpr int64_t kTokensBetween = 8;

  double Bandwidth() {
    const double rate = bandwidth_.Pass();
    best_bandwidth_ = std::max(best_bandwidth_, rate);
    return rate;
  }

  double Tokens(std::span<const int32_t> ids) {
    double total = 0;
    for (const int32_t id : ids) {
      for (size_t s = 0; s < ids_together_.size(); ++s)
        ids_together_[s] =
            static_cast<int32_t>((id + static_cast<int64_t>(s) * 104729) % decoder_.spec().vocabulary);
      const double seconds =
          Seconds([&] { decoder_.Logits(decoder_.Run(ids_together_, together_, state_), logits_); });
      fastest_ = std::min(fastest_, seconds);
      total += seconds;
    }
    return total;
  }

  const Decoder& decoder_;
  const int64_t context_, tokens_;
  const std::vector<int32_t> ids_;
  BandwidthTest bandwidth_;
  std::vector<KvCache> caches_;  // of each sequence
  std::vector<KvCache*> together_;
  std::vector<int32_t> ids_together_;
  BlockState state_;
  Matrix logits_;
  std::vector<double> shares_;
  double best_bandwidth_ = 0, best_rate_ = 0, fastest_ = INFINITY;
};

}  // namespace

Json ShapeConfig(const std::string& name_or_file) {
  const auto found = NamedShapes().find(name_or_file);
  if (found == NamedShapes().end()) {
    if (std::filesystem::exists(name_or_file)) return ReadJsonFile(name_or_file);
    std::string known;
    for (const auto& [name, shape] : NamedShapes()) known += name + ", ";
    throw Error(Concat("no shape and no file '", name_or_file, "'"), "--shape",
                Concat("take ", known, "or the config.json of a model"));
  }
  const NamedShape& shape = found->second;
  return {{"model_type", "llama"},
          {"hidden_size", shape.hidden},
          {"num_hidden_layers", shape.layers},
          {"intermediate_size", shape.intermediate},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"vocab_size", shape.vocabulary},
          {"max_position_embeddings", 4096},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", shape.tied}};
}

std::unique_ptr<Decoder> MakeRandomDecoder(const Json& config, const std::string& where,
                                           const RandomWeights& weights, Backend& backend,
                                           int64_t max_tokens) {
  if (!config.is_object() || !config.contains("model_type") || !config.at("model_type").is_string())
    throw Error("key 'model_type' is missing", where, "is this a model's config.json?");
  const ModelSpec spec =
      BuildSpec(ArchitectureForModelType(config.at("model_type").get<std::string>(), where), config, where);
  RandomSource source(spec, weights, backend.pool());
  auto decoder = std::make_unique<Decoder>(spec, source, backend, max_tokens);
  decoder->JoinWeights();
  return decoder;
}

Speed MeasureSpeed(const Decoder& decoder, const SpeedOptions& options,
                   const std::function<void()>& progress) {
  Speed speed;
  ThreadPool& pool = decoder.backend().pool();
  speed.peak = MeasurePeak(pool);
  double prefill = INFINITY;
  DecodeTest decode(decoder, options);
  for (int round = 0; round < kRounds; ++round) {
    progress();
    decode.Round();
    progress();
    prefill = std::min(prefill, PrefillSeconds(decoder, options.prefill_tokens, options.kv_bits));
  }
  double& bandwidth = speed.peak.read_bandwidth_bytes_per_second;
  bandwidth = std::max(bandwidth, decode.best_bandwidth());
  speed.prefill_tokens_per_second = static_cast<double>(options.prefill_tokens) / prefill;
  speed.prefill_share_of_float_products =
      speed.prefill_tokens_per_second * 2 * decoder.MultipliedWeights() / speed.peak.gemm_flops_per_second;
  speed.decode_tokens_per_second = decode.best_rate();
  speed.kv_cache_bytes_per_token = decode.cache_bytes_per_token();
  speed.bytes_per_token = decoder.WeightBytesPerToken() / decode.sequences() +
                          speed.kv_cache_bytes_per_token * (static_cast<double>(options.context_tokens) +
                                                            static_cast<double>(options.decode_tokens) / 2);
  speed.decode_share_of_read_bandwidth = speed.bytes_per_token * decode.MedianShare();
  speed.fastest_token_seconds = decode.fastest();
  speed.fastest_token_share = speed.bytes_per_token * decode.sequences() / decode.fastest() / bandwidth;
  return speed;
}

}  // namespace gptq
