#include "workflow/self_check.h"

#include <cmath>
#include <random>

#include "io/safetensors_writer.h"
#include "io/writable_file.h"
#include "tests/workflow/workflow_fixtures.h"
#include "workflow/quantize.h"

namespace gptq {
namespace self_check_test {

namespace fs = std::filesystem;

// A quantized folder, and what the model in memory gave. Quantized once for all tests.
struct Written {
  Written() {
    QuantizeOptions options;
    options.model = Stories();
    options.output = folder.path() / "out";
    options.solver.group_size = 32;
    options.solver.symmetric = false;
    options.format = WeightFormat::kGptqV2;
    options.calibration.file = fs::path(GPTQ_SOURCE_DIR) / "data/tinystories/calibration.jsonl";
    options.calibration.samples = 4;
    options.calibration.sequence_length = 64;
    options.observe = [&](const std::string& name, const StoredMatrix& weight) {
      packed[name] = std::get<PackedWeight>(weight);
    };
    SilentProgress progress;
    Quantize(options, *backend, progress);
    for (int32_t i = 0; i < 100; ++i) ids.push_back(3 + i * 37 % 500);
    const auto original = ModelFiles::Open(Stories());
    const auto decoder = original->LoadDecoder(*backend, 100);
    for (Block& block : decoder->blocks()) {
      for (Stage& stage : block.stages()) {
        for (LinearLayer& linear : stage.linears) linear.weight = Weight(packed.at(linear.name));
      }
    }
    logits = decoder->Logits(decoder->Run(ids, 100).view());
  }

  TemporaryFolder folder;
  std::unique_ptr<Backend> backend = MakeCpuBackend(2);
  std::map<std::string, PackedWeight> packed;
  std::vector<int32_t> ids;
  Matrix logits;
};

class SelfCheck : public testing::Test {
 protected:
  static void SetUpTestSuite() { written_ = std::make_unique<Written>(); }
  static void TearDownTestSuite() { written_.reset(); }

  SelfCheck() : model_(copy_.path() / "model") { fs::copy(written_->folder.path() / "out", model_); }

  // Of logits; of tensors where these are wrong.
  double Error() {
    const WrittenErrors errors = Errors(kKeptBound);
    return errors.kept > 1 ? errors.kept : errors.logits;
  }

  WrittenErrors Errors(double bound) {
    const auto source = ModelFiles::Open(Stories());
    WrittenModules modules;
    modules.replaced = [](const std::string& module) { return written_->packed.contains(module); };
    modules.bound = [=](const std::string&) { return bound; };
    return CheckWritten(model_, {}, source->source(), modules, written_->ids, written_->logits.view(),
                        *written_->backend);
  }

  // The folder as it was written, with some tensors changed.
  using Tensors = std::map<std::string, Tensor>;
  double ErrorWith(const std::function<void(Tensors&)>& change) {
    const SafetensorsFile file = SafetensorsFile::Open(written_->folder.path() / "out/model.safetensors");
    Tensors tensors;
    for (const auto& [name, view] : file.tensors()) {
      Tensor tensor = Tensor::Uninitialized(view.dtype, view.shape);
      std::copy_n(view.data, view.bytes(), tensor.data());
      tensors.emplace(name, std::move(tensor));
    }
    change(tensors);
    std::vector<std::pair<std::string, TensorView>> views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
    WriteSafetensors(model_ / "model.safetensors", views, file.metadata());
    return Error();
  }

  void ReplaceInConfig(const std::string& from, const std::string& to) {
    for (const char* name : {"config.json", "quantize_config.json"}) {
      if (!fs::exists(model_ / name)) continue;
      std::string content = ReadTextFile(model_ / name);
      const size_t at = content.find(from);
      if (at != std::string::npos) WriteFile(model_ / name, content.replace(at, from.size(), to));
    }
  }

  static std::unique_ptr<Written> written_;
  TemporaryFolder copy_;
  const fs::path model_;
};

std::unique_ptr<Written> SelfCheck::written_;

constexpr double kFar = 2e-2;

template <typename Function>
void ForWords(Tensor& tensor, Function function) {
  for (int32_t& word : tensor.As<int32_t>())
    word = static_cast<int32_t>(function(static_cast<uint32_t>(word)));
}

uint32_t SwapNibbles(uint32_t word) { return (word & 0x0f0f0f0fu) << 4 | (word >> 4 & 0x0f0f0f0fu); }

TEST_F(SelfCheck, WhatWasWrittenIsWhatWasInMemory) {
  EXPECT_EQ(Error(), 0);
  EXPECT_EQ(ErrorWith([](Tensors&) {}), 0);
}

// Each linear of the model, one at a time.
TEST_F(SelfCheck, FindsAnyLinearThatIsPackedInAnotherOrder) {
  for (const auto& [name, weight] : written_->packed) {
    const auto swap = [&](Tensors& tensors) { ForWords(tensors.at(name + ".qweight"), SwapNibbles); };
    EXPECT_GT(ErrorWith(swap), kFar) << name;
  }
}

TEST_F(SelfCheck, FindsAnyLinearWhoseZerosHaveTheOtherConvention) {
  for (const auto& [name, weight] : written_->packed) {
    const auto subtract = [&](Tensors& tensors) {
      ForWords(tensors.at(name + ".qzeros"), [](uint32_t word) {
        for (uint32_t shift = 0; shift < 32; shift += 4) {
          if ((word >> shift & 15) > 0) word -= 1u << shift;
        }
        return word;
      });
    };
    EXPECT_GT(ErrorWith(subtract), kFar) << name;
  }
}

TEST_F(SelfCheck, FindsTheWrongVersionInTheConfig) {
  ReplaceInConfig("\"gptq_v2\"", "\"gptq\"");
  EXPECT_GT(Error(), kFar);
}

TEST_F(SelfCheck, FindsSwappedTensors) {
  const std::string layer = "model.layers.2.";
  const auto swap = [&](const std::string& a, const std::string& b, const std::string& kind) {
    return ErrorWith(
        [&](Tensors& tensors) { std::swap(tensors.at(layer + a + kind), tensors.at(layer + b + kind)); });
  };
  for (const char* kind : {".qweight", ".qzeros", ".scales"}) {
    EXPECT_GT(swap("self_attn.k_proj", "self_attn.v_proj", kind), kFar) << kind;
    EXPECT_GT(swap("mlp.gate_proj", "mlp.up_proj", kind), kFar) << kind;
  }
  EXPECT_GT(swap("input_layernorm", "post_attention_layernorm", ".weight"), kFar);
}

// One group of one row among all is about the least that a packing error can hit.
TEST_F(SelfCheck, FindsOneWrongColumnOfScales) {
  const auto change = [](Tensors& tensors) {
    auto scales = tensors.at("model.layers.0.mlp.down_proj.scales").As<uint16_t>();
    scales[5] = static_cast<uint16_t>(scales[5] + 0x400);  // doubled
  };
  EXPECT_GT(ErrorWith(change), kSelfCheckBound);
}

// Kept tensors are looked at one by one: rounded ones are no bug, others are; the logits do not see them.
TEST_F(SelfCheck, LooksAtKeptTensorsOneByOne) {
  const auto errors_with = [&](const std::function<void(Tensors&)>& change, double bound = kKeptBound) {
    ErrorWith(change);  // writes the folder
    return Errors(bound);
  };
  const auto add = [](const std::string& name, float share) {
    return [=](Tensors& tensors) {
      std::mt19937 generator(7);
      for (float& value : tensors.at(name).As<float>())
        value *= 1 + share * (generator() % 2 == 0 ? 1.0f : -1.0f);
    };
  };
  const WrittenErrors same = errors_with([](Tensors&) {});
  EXPECT_EQ(same.logits, 0);
  EXPECT_EQ(same.kept, 0);
  for (const std::string name :
       {"model.embed_tokens.weight", "model.norm.weight", "model.layers.3.post_attention_layernorm.weight"}) {
    const WrittenErrors rounded = errors_with(add(name, 1e-3f));
    EXPECT_EQ(rounded.logits, 0) << name;
    EXPECT_GT(rounded.kept, 0) << name;
    EXPECT_LT(rounded.kept, 1) << name;
    const WrittenErrors wrong = errors_with(add(name, 0.02f));
    EXPECT_GT(wrong.kept, 1) << name;
    EXPECT_EQ(wrong.tensor, name);
  }
  EXPECT_LT(errors_with(add("model.embed_tokens.weight", 0.1f), 0.25).kept, 1);
  EXPECT_GT(errors_with(add("model.embed_tokens.weight", 0.5f), 0.25).kept, 1);
  EXPECT_GT(errors_with([](Tensors& tensors) {
              ForWords(tensors.at("model.layers.1.mlp.up_proj.qweight"), SwapNibbles);
            }).logits,
            kSelfCheckBound);
}

TEST_F(SelfCheck, WhatIsNotFiniteIsInfinitelyWrong) {
  const auto spoil = [](Tensors& tensors) {
    tensors.at("model.norm.weight").As<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  };
  EXPECT_EQ(ErrorWith(spoil), std::numeric_limits<double>::infinity());
}

TEST_F(SelfCheck, WhatCannotBeReadIsAnError) {
  EXPECT_ERROR(ErrorWith([](Tensors& tensors) { tensors.erase("model.layers.1.mlp.up_proj.scales"); }),
               "up_proj");
  EXPECT_ERROR(ErrorWith([](Tensors& tensors) { tensors.emplace("model.extra", Tensor(DType::kF32, {3})); }),
               "model.extra");
  fs::resize_file(model_ / "model.safetensors", 1000);
  EXPECT_ERROR(Error(), "model.safetensors");
}

}  // namespace self_check_test
}  // namespace gptq
