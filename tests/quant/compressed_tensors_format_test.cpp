#include "quant/compressed_tensors_format.h"

#include <cmath>
#include <functional>

#include "base/convert.h"
#include "io/safetensors.h"
#include "quant/quantization_config.h"
#include "tests/quant/packed_weights.h"

namespace gptq {
namespace compressed_tensors_format_test {

CompressedTensorViews Views(const CompressedTensors& tensors) {
  CompressedTensorViews views{tensors.packed.view(), tensors.scale.view(), tensors.shape.view(), {}, {}};
  if (tensors.zero_point) views.zero_point = tensors.zero_point->view();
  if (tensors.group_index) views.group_index = tensors.group_index->view();
  return views;
}

LinearSettings Settings(int bits, int64_t group_size, bool symmetric) {
  return {bits, group_size, symmetric, WeightFormat::kCompressedTensors};
}

TEST(CompressedTensorsFormat, RoundTripsEveryBitWidthAndShape) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const auto& [rows, columns] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {32, 64}, {37, 211}, {5, 33}, {64, 172}}) {
      for (const int64_t group : {int64_t{-1}, int64_t{32}, int64_t{100}}) {
        const PackedWeight mixed = RandomWeight(rows, columns, bits, group);
        ExpectEqual(FromCompressedTensors(Views(ToCompressedTensors(mixed, false, false, "test")),
                                          Settings(bits, group, false), "test"),
                    mixed);
        for (const bool symmetric : {true, false}) {
          const PackedWeight weight = SequentialWeight(rows, columns, bits, group, symmetric);
          const CompressedTensors tensors = ToCompressedTensors(weight, symmetric, true, "test");
          EXPECT_EQ(tensors.zero_point.has_value(), !symmetric);
          EXPECT_FALSE(tensors.group_index);
          const PackedWeight read =
              FromCompressedTensors(Views(tensors), Settings(bits, group, symmetric), "test");
          ExpectEqual(read, weight);
          EXPECT_EQ(read.symmetric || !symmetric, true);
        }
      }
    }
  }
}

TEST(CompressedTensorsFormat, PacksAsPublished) {
  PackedWeight weight = SequentialWeight(8, 32, 3, -1, false);
  const CompressedTensors tensors = ToCompressedTensors(weight, false, true, "test");
  EXPECT_EQ(tensors.packed.shape(), (Shape{8, 3}));
  EXPECT_EQ(tensors.zero_point->shape(), (Shape{1, 1}));
  for (int64_t r = 0; r < 8; ++r) {
    for (int64_t k = 0; k < 32; ++k) {  // bit by bit
      int code = 0;
      for (int64_t bit = 0; bit < 3; ++bit) {
        const int64_t at = 3 * k + bit;
        code |= (tensors.packed.As<int32_t>()[r * 3 + at / 32] >> (at % 32) & 1) << bit;
      }
      EXPECT_EQ(code, weight.codes[r * 32 + k]);
    }
    EXPECT_EQ(tensors.zero_point->As<int32_t>()[0] >> (3 * r) & 7, weight.zeros[r]);
  }
}

TEST(CompressedTensorsFormat, RefusesWhatItCannotSay) {
  PackedWeight weight = SequentialWeight(32, 64, 4, 32, false);
  weight.zeros[5] = 3;
  EXPECT_ERROR(ToCompressedTensors(weight, true, true, "some.linear"), "some.linear");
  weight.zeros[5] = 16;
  EXPECT_ERROR(ToCompressedTensors(weight, false, false, "some.linear"), "zero of 16");
}

TEST(CompressedTensorsFormat, RefusesDamagedTensors) {
  const PackedWeight weight = RandomWeight(32, 64, 4, 32);
  const auto refuses = [&](const std::function<void(CompressedTensors&)>& damage, const char* says) {
    CompressedTensors tensors = ToCompressedTensors(weight, false, false, "some.linear");
    damage(tensors);
    EXPECT_ERROR(FromCompressedTensors(Views(tensors), Settings(4, 32, false), "some.linear"), says);
  };
  refuses([](auto& t) { t.packed = Tensor(DType::kI32, {32, 7}); }, "weight_packed has shape");
  refuses([](auto& t) { t.packed = Tensor(DType::kF32, {32, 8}); }, "weight_packed has the type");
  refuses([](auto& t) { t.scale = Tensor(DType::kF16, {2, 32}); }, "weight_scale has shape");
  refuses([](auto& t) { t.scale = Tensor(DType::kI32, {32, 2}); }, "weight_scale has the type");
  refuses([](auto& t) { t.zero_point = Tensor(DType::kI32, {8, 1}); }, "weight_zero_point has shape");
  refuses([](auto& t) { t.zero_point.reset(); }, "weight_zero_point is missing");
  refuses([](auto& t) { t.shape = Tensor(DType::kI32, {2}); }, "weight_shape has the type");
  refuses([](auto& t) { t.shape = Tensor(DType::kI64, {3}); }, "weight_shape has shape");
  refuses([](auto& t) { t.shape.template As<int64_t>()[1] = int64_t{1} << 62; }, "weight_shape holds");
  refuses([](auto& t) { t.shape.template As<int64_t>()[1] = -64; }, "weight_shape holds");
  refuses([](auto& t) { t.shape.template As<int64_t>()[1] = 128; }, "weight_packed has shape");
  refuses([](auto& t) { t.group_index->template As<int32_t>()[3] = 2; }, "group 2 of 2");
  refuses([](auto& t) { t.group_index = Tensor(DType::kI32, {63}); }, "weight_g_idx has shape");
  CompressedTensors tensors = ToCompressedTensors(weight, false, false, "some.linear");
  tensors.scale.As<uint16_t>()[3] = 0x7c00;
  EXPECT_ERROR(FromCompressedTensors(Views(tensors), Settings(4, 32, false), "some.linear"), "infinite");
}

TEST(CompressedTensorsFormat, ReadsAndWritesWhatCompressedTensorsWrote) {
  const SafetensorsFile base = SafetensorsFile::Open(TestData("checkpoints/base/model.safetensors"));
  for (const char* folder : {"w4_sym_g128", "w4_asym_g32", "w8_sym_channel"}) {
    const auto path = TestData("formats/compressed-tensors") / folder;
    const QuantizationConfig config =
        ParseQuantizationConfig(ReadJsonFile(path / "config.json").at("quantization_config"), folder);
    EXPECT_EQ(SettingsOf(config, "lm_head"), std::nullopt);
    const SafetensorsFile file = SafetensorsFile::Open(path / "model.safetensors");
    int linears = 0;
    for (const auto& [tensor_name, view] : file.tensors()) {
      if (!tensor_name.ends_with(".weight_packed")) continue;
      const std::string name = tensor_name.substr(0, tensor_name.size() - 14);
      const LinearSettings settings = *SettingsOf(config, name);
      CompressedTensorViews views{view, file.Get(name + ".weight_scale"), file.Get(name + ".weight_shape"),
                                  file.Find(name + ".weight_zero_point"), file.Find(name + ".weight_g_idx")};
      const PackedWeight weight = FromCompressedTensors(views, settings, name);
      // Rounded to nearest: no weight is farther than half a step, but for the rounding of scale and zero.
      const Tensor expected = ToFloat(base.Get(name + ".weight"));
      std::vector<float> row(static_cast<size_t>(weight.columns));
      for (int64_t r = 0; r < weight.rows; ++r) {
        DequantizeRow(weight, r, row.data());
        for (int64_t c = 0; c < weight.columns; ++c) {
          const float scale = weight.scales[r * weight.groups + weight.group_index[c]];
          // A zero that is rounded pushes the greatest or least weight up to half a step off the grid.
          const float steps = (settings.symmetric ? 0.5f : 1.0f) + std::ldexp(1.0f, settings.bits - 12);
          ASSERT_LE(std::abs(row[c] - expected.As<float>()[r * weight.columns + c]), steps * scale);
        }
      }
      const CompressedTensors again = ToCompressedTensors(weight, settings.symmetric, true, name);
      const auto same = [](const TensorView& a, const Tensor& b) {
        return a.shape == b.shape() && a.dtype == b.dtype() &&
               std::equal(a.data, a.data + a.bytes(), b.data());
      };
      EXPECT_TRUE(same(views.packed, again.packed)) << folder;
      EXPECT_TRUE(same(views.scale, again.scale)) << folder;
      EXPECT_TRUE(same(views.shape, again.shape)) << folder;
      EXPECT_TRUE(!views.zero_point || same(*views.zero_point, *again.zero_point)) << folder;
      ++linears;
    }
    EXPECT_EQ(linears, 14) << folder;
  }
}

}  // namespace compressed_tensors_format_test
}  // namespace gptq
