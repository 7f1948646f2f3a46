// Decoders that run their blocks several times, against models that hold each round's blocks on their own.
#include <fstream>
#include <random>

#include "io/safetensors_writer.h"
#include "quant/solve_matrix.h"
#include "tests/workflow/workflow_fixtures.h"
#include "workflow/quantize.h"

namespace gptq {
namespace looped_models_test {

namespace fs = std::filesystem;

constexpr int64_t kLoops = 3, kSamples = 6, kTokens = 16;

class LoopedModel : public testing::Test {
 protected:
  LoopedModel() {
    const Json config = ReadJsonFile(TestData("models/llama/config.hub.json"));
    blocks_ = config.at("num_hidden_layers").get<int64_t>();
    vocabulary_ = config.at("vocab_size").get<uint32_t>();
    fs::create_directory(looped());
    fs::copy(TestData("models/llama/model.safetensors"), looped());
    Write(looped() / "config.json", config);
    Json unrolled_config = config;
    unrolled_config["num_hidden_layers"] = blocks_ * kLoops;
    Unroll(unrolled_config);
    std::mt19937 random(3);
    Tensor ids = Tensor::Uninitialized(DType::kI32, {kSamples, kTokens});
    for (int32_t& id : ids.As<int32_t>()) id = static_cast<int32_t>(random() % vocabulary_);
    ids_.assign(ids.As<int32_t>().begin(), ids.As<int32_t>().end());
    WriteSafetensors(folder_.path() / "ids.safetensors", {{"input_ids", ids.view()}});
    WriteArchitecture(Json{{"loops", kLoops}});
  }

  // The same blocks again for every round.
  void Unroll(const Json& config) {
    fs::create_directory(unrolled());
    Write(unrolled() / "config.json", config);
    const SafetensorsFile file = SafetensorsFile::Open(looped() / "model.safetensors");
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const auto& [name, view] : file.tensors()) {
      const std::string prefix = "model.layers.";
      if (!name.starts_with(prefix)) {
        tensors.emplace_back(name, view);
        continue;
      }
      const size_t dot = name.find('.', prefix.size());
      const int64_t block = std::stoll(name.substr(prefix.size(), dot - prefix.size()));
      for (int64_t loop = 0; loop < kLoops; ++loop)
        tensors.emplace_back(Concat(prefix, loop * blocks_ + block, name.substr(dot)), view);
    }
    WriteSafetensors(unrolled() / "model.safetensors", tensors);
  }

  void WriteArchitecture(const Json& fields) {
    Write(architecture(), Json{{"name", "looped"},
                               {"extends", "llama"},
                               {"model_types", {"llama"}},
                               {"fields", fields},
                               {"tensors", Json::object()}});
  }
  static void Write(const fs::path& path, const Json& json) { std::ofstream(path) << Dump(json); }

  std::map<std::string, PackedWeight> Quantized(const std::string& name, bool as_looped = true) {
    QuantizeOptions options;
    options.model = looped();
    if (as_looped) options.architecture = architecture();
    options.output = folder_.path() / name;
    options.solver = Solver();
    options.calibration.file = folder_.path() / "ids.safetensors";
    options.calibration.sink_sequences = 0;
    std::map<std::string, PackedWeight> packed;
    options.observe = [&](const std::string& linear, const StoredMatrix& weight) {
      packed[linear] = std::get<PackedWeight>(weight);
    };
    const auto backend = MakeCpuBackend(2);
    SilentProgress progress;
    const QuantizeReport report = Quantize(options, *backend, progress);
    EXPECT_TRUE(report.self_check && report.self_check->relative_error < 1e-5);
    return packed;
  }

  static SolverOptions Solver() {
    SolverOptions solver;
    solver.bits = 4;
    solver.group_size = 32;
    return solver;
  }

  fs::path looped() const { return folder_.path() / "looped"; }
  fs::path unrolled() const { return folder_.path() / "unrolled"; }
  fs::path architecture() const { return folder_.path() / "looped.json"; }

  TemporaryFolder folder_;
  int64_t blocks_ = 0;
  uint32_t vocabulary_ = 0;
  std::vector<int32_t> ids_;
};

TEST_F(LoopedModel, ComputesWhatTheUnrolledOneDoes) {
  const auto backend = MakeCpuBackend(2);
  const auto a = ModelFiles::Open(looped(), architecture()), b = ModelFiles::Open(unrolled());
  const auto one = a->LoadDecoder(*backend, kTokens), other = b->LoadDecoder(*backend, kTokens);
  const auto logits = [&](const Decoder& decoder, MatrixView hidden) {
    const Matrix result = decoder.Logits(hidden);
    return std::vector<float>(result.data(), result.data() + result.view().elements());
  };
  EXPECT_EQ(logits(*one, one->Run(ids_, kTokens).view()), logits(*other, other->Run(ids_, kTokens).view()));
  EXPECT_EQ(one->WeightBytesPerToken(), other->WeightBytesPerToken());

  KvCache looped_cache = one->MakeCache(kTokens), unrolled_cache = other->MakeCache(kTokens);
  const std::span<const int32_t> ids = std::span<const int32_t>(ids_).first(kTokens);
  for (int64_t token = 0; token < kTokens; ++token) {
    const auto next = ids.subspan(static_cast<size_t>(token), 1);
    EXPECT_EQ(logits(*one, one->Run(next, looped_cache)), logits(*other, other->Run(next, unrolled_cache)));
  }
}

// One Hessian of all rounds' inputs; those of later rounds are the unquantized model's at the round's begin.
TEST_F(LoopedModel, OneHessianOfAllRounds) {
  const std::map<std::string, PackedWeight> packed = Quantized("out");
  EXPECT_EQ(packed.size(), static_cast<size_t>(7 * blocks_));

  const auto backend = MakeCpuBackend(2);
  const auto files = ModelFiles::Open(unrolled());
  const auto decoder = files->LoadDecoder(*backend, kTokens);
  std::vector<Matrix> streams;  // before each round
  streams.push_back(decoder->Embed(ids_, kTokens));
  decoder->Run(ids_, kTokens, [&](int64_t block, MatrixView hidden) {
    if ((block + 1) % blocks_ != 0) return;
    Matrix copy(hidden.rows, hidden.columns);
    std::copy_n(hidden.data, hidden.elements(), copy.data());
    streams.push_back(std::move(copy));
  });
  Block& first = decoder->blocks().front();
  HessianAccumulator accumulator(decoder->spec().hidden);
  for (int64_t loop = 0; loop < kLoops; ++loop) {
    BlockState state{kSamples, kTokens, std::move(streams[static_cast<size_t>(loop)]), {}};
    first.Begin(*backend, state);
    for (int64_t sample = 0; sample < kSamples; ++sample) {
      accumulator.Add(state.input.data() + sample * kTokens * state.input.columns(), kTokens,
                      state.input.columns(), backend->pool());
    }
  }
  const Hessian hessian = accumulator.Finish(backend->pool());
  EXPECT_EQ(hessian.tokens, kLoops * kSamples * kTokens);
  for (const LinearLayer& linear : first.stages()[0].linears) {
    std::vector<float> values(static_cast<size_t>(linear.weight.rows() * linear.weight.columns()));
    linear.weight.ReadRows(0, linear.weight.rows(), values.data());
    const MatrixSolution solution =
        SolveMatrix(ConstMatrix(values.data(), linear.weight.rows(), linear.weight.columns()), hessian.view(),
                    Method::kGptq, Solver(), linear.name, backend->pool());
    EXPECT_EQ(packed.at(linear.name).codes, ToPackedWeight(solution.result, Solver(), linear.name).codes)
        << linear.name;
  }
}

// With all weight on the first round the result is that of a model without others: H is divided by twice the
// tokens, which changes no code.
TEST_F(LoopedModel, RoundsCountByTheirWeights) {
  WriteArchitecture(Json{{"loops", 2}, {"loop_weights", {1, 0}}});
  const auto weighted = Quantized("weighted"), plain = Quantized("plain", /*as_looped=*/false);
  for (const auto& [name, weight] : plain) EXPECT_EQ(weighted.at(name).codes, weight.codes) << name;
  WriteArchitecture(Json{{"loops", 2}});
  EXPECT_NE(Quantized("equal").begin()->second.codes, plain.begin()->second.codes);
  WriteArchitecture(Json{{"loops", 2}, {"loop_weights", {1}}});
  EXPECT_ERROR(ModelFiles::Open(looped(), architecture()), "loop_weights");
}

}  // namespace looped_models_test
}  // namespace gptq
