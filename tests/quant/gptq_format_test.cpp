#include "quant/gptq_format.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "base/convert.h"
#include "io/safetensors.h"
#include "quant/quantization_config.h"
#include "quant/solve_result.h"
#include "tests/quant/packed_weights.h"

namespace gptq {
namespace gptq_format_test {

GptqTensorViews Views(const GptqTensors& tensors) {
  return {tensors.qweight.view(), tensors.qzeros.view(), tensors.scales.view(), tensors.g_idx.view()};
}

LinearSettings SettingsFor(int bits, int64_t group_size, WeightFormat format, bool symmetric = false) {
  return {bits, group_size, symmetric, format};
}

TEST(GptqFormat, RoundTripsEveryBitWidthVersionAndShape) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {32, 64}, {37, 211}, {5, 33}, {64, 172}, {17, 31}}) {
      for (const int64_t group : {-1, 32, 7}) {
        for (const WeightFormat format : {WeightFormat::kGptq, WeightFormat::kGptqV2}) {
          PackedWeight weight =
              RandomWeight(rows, columns, bits, group, format == WeightFormat::kGptq ? 1 : 0);
          weight.scale_type = bits == 3 ? DType::kF32 : DType::kF16;
          const GptqTensors tensors = ToGptqTensors(weight, format, "test");
          EXPECT_EQ(tensors.qweight.shape(), (Shape{(columns * bits + 31) / 32, rows}));
          EXPECT_EQ(tensors.qzeros.shape(), (Shape{weight.groups, (rows * bits + 31) / 32}));
          EXPECT_EQ(tensors.scales.shape(), (Shape{weight.groups, rows}));
          ExpectEqual(FromGptqTensors(Views(tensors), SettingsFor(bits, group, format), "test", nullptr),
                      weight);
        }
      }
    }
  }
}

TEST(GptqFormat, WithoutGroupIndexGroupsFollowEachOther) {
  PackedWeight weight = RandomWeight(8, 33, 4, 8);
  for (int32_t c = 0; c < 33; ++c) weight.group_index[c] = c / 8;
  const GptqTensors tensors = ToGptqTensors(weight, WeightFormat::kGptqV2, "test");
  GptqTensorViews views = Views(tensors);
  views.g_idx.reset();
  const LinearSettings settings = SettingsFor(4, 8, WeightFormat::kGptqV2);
  ExpectEqual(FromGptqTensors(views, settings, "test", nullptr, 33), weight);
  EXPECT_EQ(FromGptqTensors(views, settings, "test", nullptr).columns, 40);
  EXPECT_ERROR(FromGptqTensors(views, settings, "test", nullptr, 50), "qweight");
}

// The layout as the published 3-bit packer spells it out.
TEST(GptqFormat, ThreeBitsAreThePublishedLayout) {
  const PackedWeight weight = RandomWeight(2, 32, 3, -1);
  const GptqTensors tensors = ToGptqTensors(weight, WeightFormat::kGptqV2, "test");
  for (int64_t r = 0; r < 2; ++r) {
    const uint8_t* code = weight.codes.data() + r * 32;
    uint32_t word[3] = {};
    for (int i = 0; i < 10; ++i) word[0] |= uint32_t{code[i]} << (3 * i);
    word[0] |= uint32_t{code[10]} << 30;
    word[1] |= (code[10] >> 2) & 1u;
    for (int i = 0; i < 10; ++i) word[1] |= uint32_t{code[11 + i]} << (3 * i + 1);
    word[1] |= uint32_t{code[21]} << 31;
    word[2] |= (code[21] >> 1) & 3u;
    for (int i = 0; i < 10; ++i) word[2] |= uint32_t{code[22 + i]} << (3 * i + 2);
    for (int w = 0; w < 3; ++w)
      EXPECT_EQ(static_cast<uint32_t>(tensors.qweight.As<int32_t>()[w * 2 + r]), word[w]);
  }
}

TEST(GptqFormat, SymmetricZerosAreTheKnownConstants) {
  for (const auto& [bits, v1, v2] : std::vector<std::tuple<int, uint32_t, uint32_t>>{
           {2, 0x55555555u, 0xaaaaaaaau}, {4, 0x77777777u, 0x88888888u}, {8, 0x7f7f7f7fu, 0x80808080u}}) {
    PackedWeight weight = RandomWeight(32, 32, bits, -1);
    std::fill(weight.zeros.begin(), weight.zeros.end(), static_cast<int16_t>(1 << (bits - 1)));
    const GptqTensors first = ToGptqTensors(weight, WeightFormat::kGptq, "test");
    const GptqTensors second = ToGptqTensors(weight, WeightFormat::kGptqV2, "test");
    for (const int32_t word : first.qzeros.As<int32_t>()) EXPECT_EQ(static_cast<uint32_t>(word), v1);
    for (const int32_t word : second.qzeros.As<int32_t>()) EXPECT_EQ(static_cast<uint32_t>(word), v2);

    // v2 zeros under a v1 label are recognised.
    std::vector<std::string> warnings;
    const PackedWeight mislabelled = FromGptqTensors(
        Views(second), SettingsFor(bits, -1, WeightFormat::kGptq, true), "some.linear", &warnings);
    EXPECT_EQ(mislabelled.zeros, weight.zeros);
    EXPECT_TRUE(mislabelled.symmetric);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_THAT(warnings[0], testing::HasSubstr("some.linear"));
    warnings.clear();
    const PackedWeight plain = FromGptqTensors(Views(first), SettingsFor(bits, -1, WeightFormat::kGptq, true),
                                               "some.linear", &warnings);
    EXPECT_EQ(plain.zeros, weight.zeros);
    EXPECT_TRUE(warnings.empty());
  }
}

TEST(GptqFormat, RefusesZerosThatAVersionCannotSay) {
  PackedWeight weight = RandomWeight(8, 32, 4, -1, 1);
  weight.zeros[3] = 0;
  EXPECT_ERROR(ToGptqTensors(weight, WeightFormat::kGptq, "some.linear"), "zero of 0");
  weight.zeros[3] = 16;
  EXPECT_ERROR(ToGptqTensors(weight, WeightFormat::kGptqV2, "some.linear"), "zero of 16");
  std::fill(weight.zeros.begin(), weight.zeros.end(), int16_t{16});
  std::vector<std::string> warnings;
  const GptqTensors tensors = ToGptqTensors(weight, WeightFormat::kGptq, "some.linear");
  const PackedWeight read =
      FromGptqTensors(Views(tensors), SettingsFor(4, -1, WeightFormat::kGptq), "x", &warnings);
  EXPECT_EQ(read.zeros[0], 16);
  EXPECT_EQ(warnings.size(), 1u);
}

TEST(GptqFormat, RefusesOtherBits) {
  for (const int bits : {5, 6, 7}) {
    EXPECT_ERROR(ToGptqTensors(RandomWeight(32, 32, bits, -1), WeightFormat::kGptqV2, "some.linear"),
                 "some.linear");
  }
}

TEST(GptqFormat, RefusesWrongShapesTypesAndIndices) {
  const PackedWeight weight = RandomWeight(16, 64, 4, 32);
  const LinearSettings settings = SettingsFor(4, 32, WeightFormat::kGptqV2);
  const auto read = [&](const std::function<void(GptqTensors&)>& damage) {
    GptqTensors tensors = ToGptqTensors(weight, WeightFormat::kGptqV2, "some.linear");
    damage(tensors);
    FromGptqTensors(Views(tensors), settings, "some.linear", nullptr);
  };
  read([](GptqTensors&) {});
  EXPECT_ERROR(read([](GptqTensors& t) { t.qweight = Tensor(DType::kI32, {7, 16}); }), "qweight");
  EXPECT_ERROR(read([](GptqTensors& t) { t.qweight = Tensor(DType::kI32, {8}); }), "qweight");
  EXPECT_ERROR(read([](GptqTensors& t) { t.qweight = Tensor(DType::kF32, {8, 16}); }), "qweight");
  EXPECT_ERROR(read([](GptqTensors& t) { t.qweight = Tensor(DType::kI32, {8, 0}); }), "scales");
  EXPECT_ERROR(read([](GptqTensors& t) { t.qzeros = Tensor(DType::kI32, {2, 3}); }), "qzeros");
  EXPECT_ERROR(read([](GptqTensors& t) { t.qzeros = Tensor(DType::kI64, {2, 2}); }), "qzeros");
  EXPECT_ERROR(read([](GptqTensors& t) { t.scales = Tensor(DType::kF16, {1, 16}); }), "scales");
  EXPECT_ERROR(read([](GptqTensors& t) { t.scales = Tensor(DType::kI32, {2, 16}); }), "scales");
  EXPECT_ERROR(read([](GptqTensors& t) { t.scales.As<uint16_t>()[5] = 0x7c00; }), "infinite");
  EXPECT_ERROR(read([](GptqTensors& t) { t.g_idx.As<int32_t>()[5] = 2; }), "g_idx");
  EXPECT_ERROR(read([](GptqTensors& t) { t.g_idx.As<int32_t>()[5] = -1; }), "g_idx");
  EXPECT_ERROR(read([](GptqTensors& t) { t.g_idx = Tensor(DType::kI32, {65}); }), "qweight");
  EXPECT_ERROR(read([](GptqTensors& t) { t.g_idx = Tensor(DType::kI64, {64}); }), "g_idx");
  EXPECT_ERROR(read([](GptqTensors& t) { t.g_idx = Tensor(DType::kI32, {8, 8}); }), "g_idx");
}

TEST(GptqFormat, WarnsOfShapesThatReadersRefuse) {
  EXPECT_TRUE(ShapeWarnings(4096, 4096, SettingsFor(4, 128, WeightFormat::kGptq)).empty());
  EXPECT_EQ(ShapeWarnings(64, 172, SettingsFor(4, 32, WeightFormat::kGptq)).size(), 3u);
  EXPECT_EQ(ShapeWarnings(192, 576, SettingsFor(4, 64, WeightFormat::kGptq)).size(), 1u);
  EXPECT_EQ(ShapeWarnings(64, 128, SettingsFor(4, 96, WeightFormat::kGptq)).size(), 1u);
}

// Folders of GPTQModel: every packed linear is near the float weight it was made from.
TEST(GptqFormat, ReadsGptqModelCheckpoints) {
  const SafetensorsFile base = SafetensorsFile::Open(TestData("checkpoints/base/model.safetensors"));
  int folders = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TestData("checkpoints"))) {
    if (!std::filesystem::exists(entry.path() / "quantize_config.json")) continue;
    ++folders;
    const std::string folder = entry.path().filename().string();
    const QuantizationConfig config =
        ParseQuantizationConfig(ReadJsonFile(entry.path() / "quantize_config.json"), folder);
    const SafetensorsFile file = SafetensorsFile::Open(entry.path() / "model.safetensors");
    int linears = 0;
    for (const auto& [tensor_name, view] : file.tensors()) {
      if (!tensor_name.ends_with(".qweight")) continue;
      const std::string name = tensor_name.substr(0, tensor_name.size() - 8);
      const LinearSettings settings = *SettingsOf(config, name);
      std::vector<std::string> warnings;
      const PackedWeight weight = FromGptqTensors(
          {view, file.Get(name + ".qzeros"), file.Get(name + ".scales"), file.Find(name + ".g_idx")},
          settings, name, &warnings);
      EXPECT_EQ(weight.symmetric, settings.symmetric) << folder << " " << name;
      EXPECT_EQ(weight.SequentialGroups(), !config.activation_order);
      const Tensor expected = ToFloat(base.Get(name + ".weight"));
      ASSERT_EQ(expected.shape(), (Shape{weight.rows, weight.columns}));
      double error = 0, size = 0;
      std::vector<float> row(static_cast<size_t>(weight.columns));
      for (int64_t r = 0; r < weight.rows; ++r) {
        DequantizeRow(weight, r, row.data());
        for (int64_t c = 0; c < weight.columns; ++c) {
          const double w = double{expected.As<float>()[r * weight.columns + c]};
          error += (double{row[c]} - w) * (double{row[c]} - w);
          size += w * w;
        }
      }
      EXPECT_LT(std::sqrt(error / size), 3.0 / (1 << settings.bits)) << folder << " " << name;
      // What was read is written again as it was, but for zeros that v1 leaves open.
      const GptqTensors again = ToGptqTensors(weight, settings.format, name);
      const TensorView stored[] = {view, file.Get(name + ".qzeros"), file.Get(name + ".scales")};
      const Tensor* written[] = {&again.qweight, &again.qzeros, &again.scales};
      for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(std::equal(stored[i].data, stored[i].data + stored[i].bytes(), written[i]->data()))
            << folder << i;
      }
      ++linears;
    }
    EXPECT_EQ(linears, 14) << folder;
  }
  EXPECT_EQ(folders, 8);
}

}  // namespace gptq_format_test
}  // namespace gptq
