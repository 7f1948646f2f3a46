#include "io/safetensors.h"

#include <cstring>

#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace safetensors_test {

class Safetensors : public ::testing::Test {
 protected:
  SafetensorsFile Open(std::string_view bytes) { return SafetensorsFile::Open(Put(path(), bytes)); }
  SafetensorsFile Open(std::string_view header, std::string_view data) {
    return Open(SafetensorsBytes(header, data));
  }
  std::filesystem::path path() const { return folder_.path() / "file.safetensors"; }

 private:
  TemporaryFolder folder_;
};

constexpr std::string_view kTwo =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
    R"("b":{"dtype":"U8","shape":[1,3],"data_offsets":[8,11]}}  )";

TEST_F(Safetensors, ReadsTensorsAndMetadata) {
  const std::string data = LittleEndian(1.5f) + LittleEndian(-2.0f) + "xyz";
  const SafetensorsFile file = Open(kTwo, data);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.tensors().size(), 2u);
  const TensorView a = file.Get("a");
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_EQ(a.shape, (Shape{2}));
  EXPECT_EQ(std::memcmp(a.data, data.data(), 8), 0);
  EXPECT_EQ(file.Find("b")->shape, (Shape{1, 3}));
  EXPECT_FALSE(file.Find("__metadata__"));
  EXPECT_ERROR(file.Get("c"), "no tensor \"c\", " + path().string());
}

TEST_F(Safetensors, AcceptsEmptyThings) {
  EXPECT_EQ(Open("{}", "").tensors().size(), 0u);
  const SafetensorsFile file = Open(R"({"s":{"dtype":"F16","shape":[],"data_offsets":[0,2]},
      "e":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"f":{"dtype":"I64","shape":[3,0],"data_offsets":[2,2]}})",
                                    "ab");
  EXPECT_EQ(file.Get("s").elements(), 1);
  EXPECT_EQ(file.Get("e").elements(), 0);
  EXPECT_EQ(file.Get("f").shape, (Shape{3, 0}));
}

TEST_F(Safetensors, ViewsOutliveTheFileName) {
  const SafetensorsFile file = Open(kTwo, std::string(11, 'x'));
  const SafetensorsFile copy = file;
  std::filesystem::remove(path());
  EXPECT_EQ(std::memcmp(copy.Get("b").data, "xxx", 3), 0);
}

TEST_F(Safetensors, RefusesWhatIsNoFile) {
  EXPECT_ERROR(SafetensorsFile::Open("/no/such/file.safetensors"), "/no/such/file.safetensors");
  EXPECT_ERROR(SafetensorsFile::Open(path().parent_path()), "not a regular file");
  EXPECT_ERROR(SafetensorsFile::Open("/dev/zero"), "not a regular file");
}

TEST_F(Safetensors, RefusesEveryTruncation) {
  const std::string whole = SafetensorsBytes(kTwo, std::string(11, 'x'));
  EXPECT_EQ(Open(whole).tensors().size(), 2u);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_ERROR(Open(whole.substr(0, length)), path().string());
  }
  EXPECT_ERROR(Open(whole + "y"), "the tensors end at 11 of 12 bytes");
}

TEST_F(Safetensors, RefusesHeaderLengths) {
  EXPECT_ERROR(Open(LittleEndian<uint64_t>(100'000'001) + "{}"), "at most 100000000");
  EXPECT_ERROR(Open(LittleEndian<uint64_t>(~uint64_t{0}) + "{}"), "at most 100000000");
  EXPECT_ERROR(Open(LittleEndian<uint64_t>(uint64_t{1} << 63) + "{}"), "at most 100000000");
  EXPECT_ERROR(Open(LittleEndian<uint64_t>(3) + "{}"), "outside the file");
  EXPECT_ERROR(Open(LittleEndian<uint64_t>(0)), "not JSON");
}

TEST_F(Safetensors, RefusesHeadersThatAreNotWhatTheyShouldBe) {
  for (const char* header :
       {"", "[]", "3", "{", "{}x", "{\"a\":3}", "{\"a\":[]}", "{\"a\":{}}", "\xff\xfe", "null"}) {
    EXPECT_ERROR(Open(header, ""), path().string());
  }
  EXPECT_ERROR(Open(R"({"__metadata__":3})", ""), "__metadata__");
  EXPECT_ERROR(Open(R"({"__metadata__":{"k":3}})", ""), "\"k\"");
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_ERROR(Open("{\"a\":" + deep + "}", ""), "nested");
  EXPECT_ERROR(Open(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "x"), "nested");
}

TEST_F(Safetensors, RefusesDuplicates) {
  EXPECT_ERROR(Open(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],)"
                    R"("data_offsets":[1,2]}})",
                    "xy"),
               "\"a\" twice");
  EXPECT_ERROR(Open(R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "x"),
               "\"dtype\" twice");
  EXPECT_ERROR(Open(R"({"__metadata__":{"x":"1","x":"2"}})", ""), "\"x\" twice");
}

// One entry "a" over eight bytes of data.
struct BadEntry {
  const char* entry;
  const char* message;
};

TEST_F(Safetensors, RefusesWrongEntries) {
  const BadEntry bad[] = {
      {R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])", "\"F8_E4M3\" is not supported"},
      {R"("dtype":"Q4_0","shape":[32],"data_offsets":[0,8])", "\"Q4_0\" is not supported"},
      {R"("dtype":7,"shape":[8],"data_offsets":[0,8])", "without dtype"},
      {R"("shape":[8],"data_offsets":[0,8])", "without dtype"},
      {R"("dtype":"U8","data_offsets":[0,8])", "without shape"},
      {R"("dtype":"U8","shape":8,"data_offsets":[0,8])", "without shape"},
      {R"("dtype":"U8","shape":[8])", "without data_offsets"},
      {R"("dtype":"U8","shape":[8],"data_offsets":[0])", "not two numbers"},
      {R"("dtype":"U8","shape":[8],"data_offsets":[0,8,8])", "not two numbers"},
      {R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])", "not a size"},
      {R"("dtype":"U8","shape":[8.0],"data_offsets":[0,8])", "not a size"},
      {R"("dtype":"U8","shape":["8"],"data_offsets":[0,8])", "not a size"},
      {R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8])", "not a size"},
      {R"("dtype":"U8","shape":[99999999999999999999999],"data_offsets":[0,8])", "not a size"},
      {R"("dtype":"U8","shape":[8],"data_offsets":[8,0])", "outside"},
      {R"("dtype":"U8","shape":[9],"data_offsets":[0,9])", "outside"},
      {R"("dtype":"U8","shape":[8],"data_offsets":[0,9223372036854775807])", "outside"},
      {R"("dtype":"U8","shape":[8],"data_offsets":[-1,7])", "not a size"},
      {R"("dtype":"U8","shape":[7],"data_offsets":[0,8])", "needs 7 bytes"},
      {R"("dtype":"F32","shape":[8],"data_offsets":[0,8])", "needs 32 bytes"},
      {R"("dtype":"U8","shape":[1099511627776,1099511627776],"data_offsets":[0,8])", "too large"},
      {R"("dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,8])", "too large"},
      {R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", "too large"},
      {R"("dtype":"U8","shape":[7],"data_offsets":[1,8])", "unused bytes"},
      {R"("dtype":"U8","shape":[7],"data_offsets":[0,7])", "end at 7 of 8"},
  };
  for (const BadEntry& test : bad) {
    EXPECT_ERROR(Open("{\"a\":{" + std::string(test.entry) + "}}", "12345678"), test.message);
  }
}

TEST_F(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](int begin, int end) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[)" +
           std::to_string(end - begin) + R"(],"data_offsets":[)" + std::to_string(begin) + "," +
           std::to_string(end) + "]}}";
  };
  EXPECT_EQ(Open(two(4, 8), "12345678").tensors().size(), 2u);
  EXPECT_ERROR(Open(two(3, 8), "12345678"), "overlaps");
  EXPECT_ERROR(Open(two(0, 4), "1234"), "overlaps");
  EXPECT_ERROR(Open(two(5, 8), "12345678"), "unused bytes");
  EXPECT_ERROR(Open(two(0, 8), "12345678"), "overlaps");
}

TEST_F(Safetensors, MessagesAreOneShortLine) {
  const std::string name = std::string(100'000, 'n') + "\\n";
  try {
    Open("{\"" + name + "\":{}}", "");
    FAIL();
  } catch (const Error& e) {
    EXPECT_LT(std::strlen(e.what()), 1000u);
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
  }
}

}  // namespace safetensors_test
}  // namespace gptq
