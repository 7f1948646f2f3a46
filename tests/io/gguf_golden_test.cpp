// Tensors of every GGUF type against what gguf-py makes of them.
#include <string>

#include "base/convert.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "tests/test_util.h"

namespace gptq {
namespace gguf_golden_test {

class GgufGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufGolden, DequantizesLikeGgufPy) {
  const GgufFile file = GgufFile::Open(TestData("formats/gguf/" + GetParam() + ".gguf"));
  const SafetensorsFile golden =
      SafetensorsFile::Open(TestData("formats/gguf/" + GetParam() + ".golden.safetensors"));
  int compared = 0;
  for (const auto& [golden_name, expected] : golden.tensors()) {
    if (golden_name == "logits" || golden_name == "input_ids") continue;
    const std::string name = golden_name.substr(0, golden_name.find('['));
    const TensorView stored = file.Get(name);
    const Tensor values = ToFloat(stored);
    const Tensor wanted = ToFloat(expected);
    ASSERT_EQ(stored.row_elements(), expected.row_elements()) << name;
    ASSERT_GE(stored.rows(), expected.rows()) << name;
    for (size_t i = 0; i < wanted.As<float>().size(); ++i) {
      ASSERT_EQ(values.As<float>()[i], wanted.As<float>()[i])
          << name << " element " << i << " " << Name(stored.dtype);
    }
    ++compared;
  }
  EXPECT_EQ(compared, 3);
}

TEST_P(GgufGolden, DescribesTheModel) {
  const GgufFile file = GgufFile::Open(TestData("formats/gguf/" + GetParam() + ".gguf"));
  EXPECT_EQ(file.version(), 3);
  EXPECT_EQ(file.String("general.architecture"), "llama");
  EXPECT_EQ(file.Integer("llama.embedding_length"), GetParam().starts_with("tiny128") ? 128 : 256);
  EXPECT_EQ(file.Strings("tokenizer.ggml.tokens").size(), 320u);
  EXPECT_EQ(file.FindIntegers("tokenizer.ggml.token_type")->size(), 320u);
  EXPECT_GT(file.Float("llama.attention.layer_norm_rms_epsilon"), 0);
  EXPECT_FALSE(file.FindInteger("no.such.key"));
  EXPECT_EQ(file.Get("token_embd.weight").rows(), 320);
}

INSTANTIATE_TEST_SUITE_P(Types, GgufGolden,
                         ::testing::Values("tiny128-F16", "tiny128-BF16", "tiny128-Q8_0", "tiny128-Q4_0",
                                           "tiny128-Q4_1", "tiny128-Q5_0", "tiny128-Q5_1", "tiny256-Q2_K",
                                           "tiny256-Q3_K_M", "tiny256-Q4_K_M", "tiny256-Q5_K_M",
                                           "tiny256-Q6_K"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace gguf_golden_test
}  // namespace gptq
