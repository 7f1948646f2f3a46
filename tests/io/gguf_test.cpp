#include "io/gguf.h"

#include <cstring>

#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace gguf_test {

using Bytes = GgufBytes;

class Gguf : public ::testing::Test {
 protected:
  GgufFile Open(std::string_view bytes) { return GgufFile::Open(Put(path(), bytes)); }
  std::filesystem::path path() const { return folder_.path() / "file.gguf"; }

  // A file of one metadata value.
  GgufFile OpenValue(uint32_t type, std::string_view value) {
    return Open(Bytes::Header(0, 1) + Bytes::Key("k", type) + std::string(value));
  }
  // A file of one tensor over `data`.
  GgufFile OpenTensor(const std::vector<uint64_t>& dimensions, uint32_t type, uint64_t offset, size_t data) {
    return Open(Bytes::Padded(Bytes::Header(1, 0) + Bytes::TensorInfo("t", dimensions, type, offset)) +
                std::string(data, 'x'));
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(Gguf, ReadsEveryType) {
  const GgufFile file = Open(RichGguf());
  EXPECT_EQ(file.version(), 3);
  EXPECT_EQ(file.alignment(), 64);
  EXPECT_EQ(file.Integer("u8"), 200);
  EXPECT_EQ(file.Integer("i8"), -100);
  EXPECT_EQ(file.Integer("u16"), 60000);
  EXPECT_EQ(file.Integer("i16"), -30000);
  EXPECT_EQ(file.Integer("u32"), 4000000000);
  EXPECT_EQ(file.Integer("i32"), -2000000000);
  EXPECT_EQ(file.Integer("u64"), int64_t{1} << 40);
  EXPECT_EQ(file.Integer("i64"), -(int64_t{1} << 40));
  EXPECT_EQ(file.Float("f32"), 0.5);
  EXPECT_EQ(file.Float("f64"), 0.1);
  EXPECT_EQ(file.Float("u8"), 200.0);
  EXPECT_EQ(file.Float("u64"), 0x1p40);
  EXPECT_EQ(file.FindBool("yes"), true);
  EXPECT_EQ(file.String("text"), "words");
  EXPECT_THAT(file.Strings("texts"), ::testing::ElementsAre("a", "", "ccc"));
  EXPECT_THAT(*file.FindFloats("floats"), ::testing::ElementsAre(1.5f, -2.5f));
  EXPECT_THAT(*file.FindFloats("doubles"), ::testing::ElementsAre(0.25f));
  EXPECT_THAT(*file.FindIntegers("ints"), ::testing::ElementsAre(-7, 8));
  EXPECT_THAT(*file.FindIntegers("longs"), ::testing::ElementsAre(9));
  EXPECT_TRUE(file.FindIntegers("none")->empty());
  EXPECT_EQ(file.FindValue("u16")->type, GgufType::kUint16);
  EXPECT_EQ(file.FindValue("ints")->element_type, GgufType::kInt32);

  EXPECT_EQ(file.Get("m").shape, (Shape{1, 2, 32}));
  EXPECT_EQ(file.Get("m").dtype, DType::kQ8_0);
  EXPECT_EQ(std::memcmp(file.Get("m").data, std::string(68, 'm').data(), 68), 0);
  EXPECT_EQ(file.Get("v").shape, (Shape{3}));
  EXPECT_EQ(std::memcmp(file.Get("v").data, "vvvvvvvvvvvv", 12), 0);
  EXPECT_ERROR(file.Get("w"), "no tensor \"w\"");
}

TEST_F(Gguf, NamesKeyAndTypeWhenAnotherIsWanted) {
  const GgufFile file = Open(RichGguf());
  EXPECT_ERROR(file.Integer("text"), "\"text\" is of type string, an integer expected, " + path().string());
  EXPECT_ERROR(file.Integer("yes"), "bool");
  EXPECT_ERROR(file.Integer("f32"), "float32");
  EXPECT_ERROR(file.Integer("huge"), "below 2^63");
  EXPECT_ERROR(file.Float("yes"), "bool");
  EXPECT_ERROR(file.FindBool("u8"), "uint8");
  EXPECT_ERROR(file.String("ints"), "array of int32");
  EXPECT_ERROR(file.FindIntegers("texts"), "array of string");
  EXPECT_ERROR(file.FindFloats("ints"), "array of int32");
  EXPECT_ERROR(file.Strings("text"), "array of strings expected");
  EXPECT_ERROR(file.Integer("absent"), "lacks the key \"absent\"");
  EXPECT_ERROR(file.Strings("absent"), "lacks the key \"absent\"");
  EXPECT_FALSE(file.FindFloat("absent"));
  EXPECT_EQ(file.FindStrings("absent"), nullptr);
}

TEST_F(Gguf, ReadsAVocabularyWithoutTensors) {
  const GgufFile file = OpenValue(8, Bytes::String("llama"));  // no padding, no data
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_EQ(file.String("k"), "llama");
  EXPECT_EQ(Open(Bytes::Header(0, 0, 2)).version(), 2);
}

TEST_F(Gguf, RefusesEveryTruncation) {
  const std::string whole = RichGguf();
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_ERROR(Open(whole.substr(0, length)), path().string());
  }
}

TEST_F(Gguf, RefusesOtherFilesAndVersions) {
  EXPECT_ERROR(Open("GGML and more"), "not a GGUF file");
  EXPECT_ERROR(Open(""), "not a GGUF file");
  EXPECT_ERROR(Open(Bytes::Header(0, 0, 1)), "version 1");
  EXPECT_ERROR(Open(Bytes::Header(0, 0, 4)), "version 4");
  EXPECT_ERROR(Open(Bytes::Header(0, 0, 0x03000000)), "big-endian");
  EXPECT_TRUE(GgufFile::LooksLike(Put(path(), RichGguf())));
  EXPECT_FALSE(GgufFile::LooksLike(Put(path(), "GG")));
  EXPECT_FALSE(GgufFile::LooksLike(path().parent_path()));
  EXPECT_FALSE(GgufFile::LooksLike("/no/such/file"));
}

TEST_F(Gguf, RefusesGiantCountsAndLengths) {
  for (const uint64_t count : {uint64_t{2}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}}) {
    EXPECT_ERROR(Open(Bytes::Header(count, 0)), "a number of tensors of");
    EXPECT_ERROR(Open(Bytes::Header(0, count)), "a number of metadata entries of");
    EXPECT_ERROR(Open(Bytes::Header(0, 1) + LittleEndian(count + 30) + "k" + std::string(20, '\0')),
                 path().string());
    EXPECT_ERROR(OpenValue(8, LittleEndian(count) + "x"), "more than it can hold");
    EXPECT_ERROR(OpenValue(9, Bytes::Array(4, count) + "xxx"), "more than it can hold");
    EXPECT_ERROR(OpenValue(9, Bytes::Array(8, count) + "xxx"), "more than it can hold");
    EXPECT_ERROR(OpenValue(9, Bytes::Array(8, 1) + LittleEndian(count) + "x"), "more than it can hold");
  }
}

TEST_F(Gguf, RefusesWrongMetadata) {
  EXPECT_ERROR(OpenValue(13, "xxxxxxxx"), "metadata type 13 is unknown");
  EXPECT_ERROR(OpenValue(~0u, "xxxxxxxx"), "is unknown");
  EXPECT_ERROR(OpenValue(9, Bytes::Array(13, 1) + "xxxxxxxx"), "metadata type 13 is unknown");
  EXPECT_ERROR(OpenValue(9, Bytes::Array(9, 1) + Bytes::Array(0, 1) + "x"), "array of arrays");
  const std::string value = Bytes::Key("k", 0) + "x";
  EXPECT_ERROR(Open(Bytes::Header(0, 2) + value + value), "\"k\" twice");
}

TEST_F(Gguf, RefusesWrongAlignments) {
  const auto open = [&](uint32_t type, const std::string& alignment) {
    return Open(Bytes::Header(0, 1) + Bytes::Key("general.alignment", type) + alignment);
  };
  EXPECT_EQ(open(4, LittleEndian<uint32_t>(8)).alignment(), 8);
  for (const uint32_t alignment : {0u, 1u, 7u, 33u, ~0u, 0x80000000u}) {
    EXPECT_ERROR(open(4, LittleEndian(alignment)), "multiple of 8");
  }
  EXPECT_ERROR(open(11, LittleEndian<int64_t>(-32)), "multiple of 8");
  EXPECT_ERROR(open(8, Bytes::String("32")), "general.alignment");
}

TEST_F(Gguf, RefusesWrongTensors) {
  EXPECT_EQ(OpenTensor({8}, 0, 0, 32).Get("t").shape, (Shape{8}));
  EXPECT_EQ(OpenTensor({}, 0, 0, 32).Get("t").elements(), 1);
  EXPECT_EQ(OpenTensor({0, 4}, 0, 0, 0).Get("t").elements(), 0);
  EXPECT_ERROR(OpenTensor({8}, 0, 0, 31), "outside the file");
  EXPECT_ERROR(OpenTensor({8}, 0, 32, 32), "outside the file");
  EXPECT_ERROR(OpenTensor({8}, 0, uint64_t{1} << 62, 32), "outside the file");
  EXPECT_ERROR(OpenTensor({8}, 0, INT64_MAX - 31, 32), "outside the file");
  EXPECT_ERROR(OpenTensor({8}, 0, ~uint64_t{0}, 32), "an offset of");
  EXPECT_ERROR(OpenTensor({1}, 0, 4, 32), "not a multiple of the alignment 32");
  EXPECT_ERROR(OpenTensor({1, 1, 1, 1, 1}, 0, 0, 32), "at most 4");
  EXPECT_ERROR(OpenTensor({~uint64_t{0}}, 0, 0, 32), "a dimension of");
  EXPECT_ERROR(OpenTensor({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0, 32), "impossible for F32");
  EXPECT_ERROR(OpenTensor({uint64_t{1} << 62}, 0, 0, 32), "impossible for F32");
  EXPECT_ERROR(OpenTensor({33}, 8, 0, 68), "impossible for Q8_0 (blocks of 32)");
  EXPECT_ERROR(OpenTensor({16, 2}, 2, 0, 64), "impossible for Q4_0");
  EXPECT_ERROR(OpenTensor({256}, 23, 0, 512), "IQ4_XS is not supported");
  EXPECT_ERROR(OpenTensor({256}, 39, 0, 512), "MXFP4 is not supported");
  EXPECT_ERROR(OpenTensor({256}, 4, 0, 512), "number 4 is not supported");
  EXPECT_ERROR(OpenTensor({256}, 999, 0, 512), "number 999 is not supported");
}

TEST_F(Gguf, RefusesOverlapsAndDuplicates) {
  const auto two = [&](std::string_view second_name, uint64_t second_offset) {
    return Open(Bytes::Padded(Bytes::Header(2, 0) + Bytes::TensorInfo("t", {16}, 0, 0) +
                              Bytes::TensorInfo(second_name, {8}, 0, second_offset)) +
                std::string(96, 'x'));
  };
  EXPECT_EQ(two("u", 64).tensors().size(), 2u);
  EXPECT_ERROR(two("u", 0), "overlaps");
  EXPECT_ERROR(two("u", 32), "overlaps");
  EXPECT_ERROR(two("t", 64), "two tensors of one name");
}

}  // namespace gguf_test
}  // namespace gptq
