#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "io/checked_size.h"
#include "io/gguf_cursor.h"
#include "io/gguf_value.h"
#include "io/quoted.h"

namespace gptq {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kMaxDimensions = 4;  // GGML_MAX_DIMS

struct GgmlType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;  // nothing: known, not supported
};

// enum ggml_type in ggml.h; the numbers left out were removed from the format.
constexpr GgmlType kGgmlTypes[] = {
    {0, "F32", DType::kF32},      {1, "F16", DType::kF16},       {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},    {6, "Q5_0", DType::kQ5_0},     {7, "Q5_1", DType::kQ5_1},
    {8, "Q8_0", DType::kQ8_0},    {9, "Q8_1", std::nullopt},     {10, "Q2_K", DType::kQ2_K},
    {11, "Q3_K", DType::kQ3_K},   {12, "Q4_K", DType::kQ4_K},    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},   {15, "Q8_K", std::nullopt},    {16, "IQ2_XXS", std::nullopt},
    {17, "IQ2_XS", std::nullopt}, {18, "IQ3_XXS", std::nullopt}, {19, "IQ1_S", std::nullopt},
    {20, "IQ4_NL", std::nullopt}, {21, "IQ3_S", std::nullopt},   {22, "IQ2_S", std::nullopt},
    {23, "IQ4_XS", std::nullopt}, {24, "I8", DType::kI8},        {25, "I16", DType::kI16},
    {26, "I32", DType::kI32},     {27, "I64", DType::kI64},      {28, "F64", DType::kF64},
    {29, "IQ1_M", std::nullopt},  {30, "BF16", DType::kBF16},    {34, "TQ1_0", std::nullopt},
    {35, "TQ2_0", std::nullopt},  {39, "MXFP4", std::nullopt},   {40, "NVFP4", std::nullopt},
    {41, "Q1_0", std::nullopt},   {42, "Q2_0", std::nullopt},
};

DType ParseTensorType(uint32_t number, const std::string& where) {
  std::string name = Concat("number ", number);
  for (const GgmlType& type : kGgmlTypes) {
    if (type.number != number) continue;
    if (type.dtype) return *type.dtype;
    name = type.name;
  }
  throw Error(Concat("GGUF data type ", name, " is not supported"), where,
              "use a file in F32, F16, BF16, Q4_0 ... Q8_0 or Q2_K ... Q6_K");
}

int ReadVersion(GgufCursor& cursor) {
  if (cursor.left() < 4 || std::memcmp(cursor.Take(4, "the magic"), kMagic.data(), 4) != 0) {
    throw Error("not a GGUF file (it does not begin with \"GGUF\")", cursor.path(), "give a .gguf file");
  }
  const auto version = cursor.Read<uint32_t>("the version");
  if (version == 2 || version == 3) return static_cast<int>(version);
  if ((version & 0xffffu) == 0) {
    throw Error("a big-endian GGUF file is not supported", cursor.path(), "use a little-endian one");
  }
  throw Error(Concat("GGUF version ", version, " is not supported"), cursor.path(),
              "use a file of version 2 or 3");
}

struct GgufEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  int64_t bytes = 0;
  int64_t offset = 0;  // from the start of the data
};

GgufEntry ReadEntry(GgufCursor& cursor) {
  GgufEntry entry;
  entry.name = cursor.ReadString("a tensor's name");
  const std::string where = WhereTensor(cursor.path(), entry.name);
  const auto dimensions = cursor.Read<uint32_t>("a tensor's dimensions");
  if (dimensions > kMaxDimensions) {
    throw Error(Concat("a tensor of ", dimensions, " dimensions, at most ", kMaxDimensions, " are allowed"),
                where, kGgufDamaged);
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.Read<uint64_t>("a tensor's dimensions");
    if (size > uint64_t{INT64_MAX}) throw Error(Concat("a dimension of ", size), where, kGgufDamaged);
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(entry.shape.begin(), entry.shape.end());
  entry.dtype = ParseTensorType(cursor.Read<uint32_t>("a tensor's type"), where);
  const std::optional<int64_t> bytes = CheckedByteSize(entry.dtype, entry.shape);
  if (!bytes) {
    throw Error(Concat("shape ", ToString(entry.shape), " is impossible for ", Name(entry.dtype),
                       " (blocks of ", Info(entry.dtype).block_elements, ")"),
                where, kGgufDamaged);
  }
  entry.bytes = *bytes;
  const auto offset = cursor.Read<uint64_t>("a tensor's offset");
  if (offset > uint64_t{INT64_MAX}) throw Error(Concat("an offset of ", offset), where, kGgufDamaged);
  entry.offset = static_cast<int64_t>(offset);
  return entry;
}

// Each tensor lies inside the data, aligned, and shares no byte with another.
void CheckPlaces(std::vector<GgufEntry>& entries, int64_t data_bytes, int64_t alignment,
                 const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const GgufEntry& a, const GgufEntry& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  int64_t used = 0;
  for (const GgufEntry& entry : entries) {
    const std::string where = WhereTensor(path, entry.name);
    if (entry.offset % alignment != 0) {
      throw Error(Concat("offset ", entry.offset, " is not a multiple of the alignment ", alignment), where,
                  kGgufDamaged);
    }
    const std::optional<int64_t> end = CheckedAdd(entry.offset, entry.bytes);
    if (!end || *end > data_bytes) {
      throw Error(Concat(entry.bytes, " bytes at offset ", entry.offset, " end outside the file's ",
                         data_bytes, " bytes of data"),
                  where, kGgufDamaged);
    }
    if (entry.offset < used) throw Error("a tensor that overlaps another", where, kGgufDamaged);
    used = *end;
  }
}

}  // namespace

uint32_t GgmlTypeNumber(DType dtype) {
  for (const GgmlType& type : kGgmlTypes) {
    if (type.dtype == dtype) return type.number;
  }
  CHECK(false);
  return 0;
}

bool GgufFile::LooksLike(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::is_regular_file(path, code)) return false;
  std::array<char, 4> begin{};
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  const size_t count = std::fread(begin.data(), 1, begin.size(), file);
  std::fclose(file);
  return std::string_view(begin.data(), count) == kMagic;
}

GgufFile GgufFile::Open(const std::filesystem::path& path) {
  GgufFile result;
  result.file_ = MappedFile::Open(path);
  GgufCursor cursor(*result.file_);
  result.version_ = ReadVersion(cursor);
  // A tensor takes at least 24 bytes (empty name), a metadata entry at least 13.
  const int64_t tensor_count = cursor.ReadCount(24, "a number of tensors");
  const int64_t value_count = cursor.ReadCount(13, "a number of metadata entries");
  for (int64_t i = 0; i < value_count; ++i) {
    std::string key = cursor.ReadString("a metadata key");
    GgufValue value = ReadGgufValue(cursor, key);
    if (result.metadata_.contains(key)) {
      throw Error(Concat("GGUF metadata key ", Quoted(key), " twice"), cursor.path(), kGgufDamaged);
    }
    result.metadata_.emplace(std::move(key), std::move(value));
  }
  result.alignment_ = result.FindInteger("general.alignment").value_or(32);
  if (result.alignment_ <= 0 || result.alignment_ % 8 != 0 || result.alignment_ > INT32_MAX) {
    throw Error(Concat("general.alignment of ", result.alignment_, ", which is not a multiple of 8"),
                cursor.path(), kGgufDamaged);
  }
  std::vector<GgufEntry> entries;
  for (int64_t i = 0; i < tensor_count; ++i) entries.push_back(ReadEntry(cursor));

  const int64_t data_begin =
      (cursor.position() + result.alignment_ - 1) / result.alignment_ * result.alignment_;
  const int64_t data_bytes = std::max<int64_t>(result.file_->size() - data_begin, 0);
  CheckPlaces(entries, data_bytes, result.alignment_, cursor.path());
  for (GgufEntry& entry : entries) {
    // An empty tensor may stand where the data would begin, past the end of the file.
    const std::byte* data =
        entry.bytes == 0 ? result.file_->data() : result.file_->data() + data_begin + entry.offset;
    if (result.tensors_.contains(entry.name)) {
      throw Error("two tensors of one name", WhereTensor(cursor.path(), entry.name), kGgufDamaged);
    }
    result.tensors_.emplace(std::move(entry.name), TensorView{entry.dtype, std::move(entry.shape), data});
  }
  return result;
}

std::optional<TensorView> GgufFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return std::nullopt;
  return found->second;
}

TensorView GgufFile::Get(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw Error(Concat("no tensor ", Quoted(name)), path().string(), "give a file that holds it");
  }
  return found->second;
}

}  // namespace gptq
