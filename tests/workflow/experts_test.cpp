// Mixtures of experts of which some see few tokens or none.
#include <fstream>
#include <random>

#include "io/output_folder.h"
#include "io/safetensors_writer.h"
#include "tests/workflow/workflow_fixtures.h"
#include "workflow/quantize.h"
#include "workflow/quantize_block.h"
#include "workflow/quantize_output.h"
#include "workflow/stage_statistics.h"

namespace gptq {
namespace experts_test {

namespace fs = std::filesystem;

constexpr int64_t kHidden = 32, kIntermediate = 32, kExperts = 64, kVocabulary = 64, kLength = 16;

class Warnings : public SilentProgress {
 public:
  void Warn(std::string_view text) override { all += std::string(text) + "\n"; }
  std::string all;
};

// Two blocks of 64 experts, two for each token.
class ManyExperts : public testing::Test {
 protected:
  ManyExperts() {
    fs::create_directory(model());
    WriteFileText(
        model() / "config.json",
        R"({"model_type": "qwen3_moe", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                      "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64,
                      "max_position_embeddings": 64, "num_experts": 64, "num_experts_per_tok": 2,
                      "moe_intermediate_size": 32, "norm_topk_prob": true, "rope_theta": 10000.0,
                      "tie_word_embeddings": true, "hidden_act": "silu", "rms_norm_eps": 1e-6})");
    AddMatrix("model.embed_tokens", kVocabulary, kHidden);
    AddVector("model.norm", kHidden);
    for (int block = 0; block < 2; ++block) {
      const std::string layer = Concat("model.layers.", block, ".");
      for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
        AddVector(layer + norm, kHidden);
      for (const char* norm : {"self_attn.q_norm", "self_attn.k_norm"}) AddVector(layer + norm, 16);
      AddMatrix(layer + "self_attn.q_proj", 32, kHidden);
      AddMatrix(layer + "self_attn.k_proj", 16, kHidden);
      AddMatrix(layer + "self_attn.v_proj", 16, kHidden);
      AddMatrix(layer + "self_attn.o_proj", kHidden, 32);
      AddMatrix(layer + "mlp.gate", kExperts, kHidden);
      for (int64_t e = 0; e < kExperts; ++e) {
        const std::string expert = Concat(layer, "mlp.experts.", e, ".");
        AddMatrix(expert + "gate_proj", kIntermediate, kHidden);
        AddMatrix(expert + "up_proj", kIntermediate, kHidden);
        AddMatrix(expert + "down_proj", kHidden, kIntermediate);
      }
    }
    std::vector<std::pair<std::string, TensorView>> views;
    for (const auto& [name, tensor] : tensors_) views.emplace_back(name, tensor.view());
    WriteSafetensors(model() / "model.safetensors", views);
    Tensor ids = Tensor::Uninitialized(DType::kI32, {4, kLength});
    for (int32_t& id : ids.As<int32_t>()) id = static_cast<int32_t>(random_() % kVocabulary);
    WriteSafetensors(folder_.path() / "ids.safetensors", {{"input_ids", ids.view()}});
  }

  fs::path model() const { return folder_.path() / "model"; }

  QuantizeOptions Options(const std::string& output) const {
    QuantizeOptions options;
    options.model = model();
    options.output = folder_.path() / output;
    options.solver.group_size = 32;
    options.calibration.file = folder_.path() / "ids.safetensors";
    options.calibration.sink_sequences = 0;
    return options;
  }

  QuantizeReport Run(const QuantizeOptions& options) {
    const auto backend = MakeCpuBackend(2);
    return Quantize(options, *backend, warnings_);
  }

  static void WriteFileText(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  void AddMatrix(const std::string& name, int64_t rows, int64_t columns) {
    Tensor tensor = Tensor::Uninitialized(DType::kF32, {rows, columns});
    std::normal_distribution<float> normal(0, 0.2f);
    for (float& value : tensor.As<float>()) value = normal(random_);
    tensors_.emplace(name + ".weight", std::move(tensor));
  }
  void AddVector(const std::string& name, int64_t size) {
    Tensor tensor = Tensor::Uninitialized(DType::kF32, {size});
    std::ranges::fill(tensor.As<float>(), 1.0f);
    tensors_.emplace(name + ".weight", std::move(tensor));
  }

  TemporaryFolder folder_;
  std::mt19937 random_{5};
  std::map<std::string, Tensor> tensors_;
  Warnings warnings_;
};

size_t HalfOfTheBatches(const QuantizeJob& job) { return static_cast<size_t>(job.samples.samples) / 2; }

TEST_F(ManyExperts, ThoseThatSeeNothingAreRoundedAndTheReportSaysWhich) {
  const QuantizeReport report = Run(Options("out"));
  std::map<std::string, int> fallbacks;
  for (const LayerReport& layer : report.layers) {
    const bool expert = layer.name.find("experts") != std::string::npos;
    ASSERT_TRUE(layer.tokens) << layer.name;
    ++fallbacks[layer.fallback];
    if (!expert) {
      EXPECT_EQ(layer.fallback, "");
      EXPECT_EQ(*layer.tokens, 64);
    } else if (layer.fallback == "rtn") {
      EXPECT_LT(*layer.tokens * 16, layer.columns);
      EXPECT_FALSE(layer.loss);
    } else {
      EXPECT_EQ(layer.fallback == "damping", *layer.tokens < layer.columns);
      EXPECT_TRUE(layer.loss && std::isfinite(*layer.loss)) << layer.name;
      EXPECT_TRUE(std::isfinite(*layer.relative_error)) << layer.name;
    }
  }
  EXPECT_GT(fallbacks["rtn"], 0);
  EXPECT_GT(fallbacks["damping"], 0);
  EXPECT_THAT(warnings_.all, testing::HasSubstr("rounded to nearest"));
  EXPECT_THAT(warnings_.all, testing::HasSubstr("damped more"));

  const auto files = ModelFiles::Open(folder_.path() / "out");
  for (const std::string& name : files->reader().names()) {
    if (!name.ends_with(".scales")) continue;
    const TensorView scales = files->reader().Get(name);
    for (const uint16_t bits :
         std::span(reinterpret_cast<const uint16_t*>(scales.data), static_cast<size_t>(scales.elements())))
      ASSERT_NE(bits & 0x7c00, 0x7c00) << name << " is NaN or infinite";
  }
  for (const char* router : {"model.layers.0.mlp.gate.weight", "model.layers.1.mlp.gate.weight"})
    EXPECT_TRUE(files->reader().Find(router)) << "routers stay as they are";
}

TEST_F(ManyExperts, CalibratedByAllTokensNoneFallsBack) {
  QuantizeOptions options = Options("out");
  options.calibrate_all_experts = true;
  for (const LayerReport& layer : Run(options).layers) {
    EXPECT_EQ(layer.tokens, 64) << layer.name;
    EXPECT_EQ(layer.fallback, "") << layer.name;
  }
  EXPECT_EQ(warnings_.all.find("experts"), std::string::npos);
}

// All experts' statistics at a time, or one's.
TEST_F(ManyExperts, TheMemoryForStatisticsChangesNothing) {
  const auto backend = MakeCpuBackend(2);
  for (const bool all : {false, true}) {
    std::map<std::string, std::vector<uint8_t>> codes[2];
    for (const bool ample : {false, true}) {
      QuantizeOptions options = Options(Concat("out", all, ample));
      options.calibrate_all_experts = all;
      options.observe = [&](const std::string& name, const StoredMatrix& stored) {
        const auto& weight = std::get<PackedWeight>(stored);
        codes[ample][name] = weight.codes;
      };
      QuantizeJob job = PrepareJob(options, {}, *backend, warnings_);
      OutputFolder folder(options.output, false, Leftover::kRemove, kCheckpoint);
      ModelOutput output(*job.model, FormOf(job, {}), folder.folder(), false, backend->pool());
      ActivationStore store(job.activations(), HalfOfTheBatches(job), folder.partial());
      for (size_t batch = 0; batch < store.batches(); ++batch) {
        const std::span<const int32_t> ids(job.samples.ids.data() + batch * kLength, kLength);
        for (BlockState& state : store.Load(batch, false)) state.hidden = job.decoder->Embed(ids, kLength);
        store.SaveBoundary(batch);
      }
      store.FinishBoundary();
      WorkReport report;
      BlockQuantizer blocks(job, ample ? int64_t{1} << 40 : 0, store, output, report, *backend, warnings_);
      for (int64_t block = 0; block < job.layers(); ++block) {
        blocks.Run(block);
        store.FinishBoundary();
      }
    }
    EXPECT_EQ(codes[0].size(), 2u * (4 + 3 * kExperts));
    EXPECT_TRUE(codes[0] == codes[1]);
  }
}

TEST_F(ManyExperts, AsymmetricCalibrationAndTokenWeightsGoWithExperts) {
  QuantizeOptions options = Options("out");
  options.asymmetric_calibration = 0.5;
  options.token_weighting = TokenWeighting::kAttention;
  const QuantizeReport report = Run(options);
  ASSERT_TRUE(report.self_check);
  EXPECT_LT(report.self_check->relative_error, 1e-5);
}

TEST_F(ManyExperts, BitsUnderABudget) {
  QuantizeOptions options = Options("out");
  options.target_bits = 4;
  options.group_sizes = {32};
  EXPECT_LE(Run(options).bits_per_weight, 4);
}

TEST(ExpertDamping, FallsBackStepByStep) {
  EXPECT_EQ(ExpertDamping(100, 100, 0.01), 0.01);
  EXPECT_EQ(ExpertDamping(99, 100, 0.01), 0.16);
  EXPECT_EQ(ExpertDamping(25, 100, 0.01), 0.16);
  EXPECT_EQ(ExpertDamping(24, 100, 0.01), 1.0);
  EXPECT_EQ(ExpertDamping(7, 100, 0.01), 1.0);
  EXPECT_EQ(ExpertDamping(6, 100, 0.01), std::nullopt);
  EXPECT_EQ(ExpertDamping(0, 100, 0.01), std::nullopt);
}

}  // namespace experts_test
}  // namespace gptq
