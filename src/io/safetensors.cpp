#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "io/checked_size.h"
#include "io/quoted.h"

namespace gptq {
namespace {

constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr std::string_view kDamaged = "the file is damaged or incomplete: fetch or write it again";

// The JSON text between the length and the data.
std::string_view HeaderText(const MappedFile& file) {
  const std::string path = file.path().string();
  if (file.size() < 8) {
    throw Error(Concat("a file of ", file.size(), " bytes is too short for safetensors"), path, kDamaged);
  }
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint64_t>(file.data()[i]);
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    throw Error(
        Concat("not safetensors, or a header of ", length, " bytes, at most ", kMaxHeaderBytes, " are read"),
        path, "give a .safetensors file");
  }
  if (static_cast<int64_t>(length) > file.size() - 8) {
    throw Error(Concat("the header of ", length, " bytes ends outside the file of ", file.size(), " bytes"),
                path, kDamaged);
  }
  return {reinterpret_cast<const char*>(file.data() + 8), static_cast<size_t>(length)};
}

// An object of objects and strings, no key twice.
Json ParseHeader(std::string_view text, const std::string& path) {
  constexpr int kMaxDepth = 3;  // file, tensor, shape
  std::vector<std::set<std::string, std::less<>>> keys(kMaxDepth + 1);
  const auto on_event = [&](int depth, Json::parse_event_t event, Json& value) {
    const bool opens =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth) throw Error("safetensors header nested too deeply", path, kDamaged);
    if (event == Json::parse_event_t::object_start) keys[static_cast<size_t>(depth) + 1].clear();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys[static_cast<size_t>(depth)].insert(key).second) {
        throw Error(Concat("safetensors header with ", Quoted(key), " twice"), path, kDamaged);
      }
    }
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, on_event);
  } catch (const Json::exception& e) {
    throw Error(Concat("safetensors header that is not JSON (", Quoted(e.what()), ")"), path, kDamaged);
  }
  if (!header.is_object()) throw Error("safetensors header that is not a JSON object", path, kDamaged);
  return header;
}

std::map<std::string, std::string> ParseMetadata(const Json& header, const std::string& path) {
  std::map<std::string, std::string> metadata;
  const auto found = header.find("__metadata__");
  if (found == header.end() || found->is_null()) return metadata;
  if (!found->is_object()) throw Error("__metadata__ that is not an object", path, kDamaged);
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string())
      throw Error(Concat("__metadata__ ", Quoted(key), " that is not a string"), path, kDamaged);
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  int64_t begin = 0;
  int64_t end = 0;
};

// Reads and checks what the header says of one tensor by itself.
class EntryParser {
 public:
  EntryParser(const std::string& path, int64_t data_bytes) : path_(path), data_bytes_(data_bytes) {}

  SafetensorsEntry Parse(const std::string& name, const Json& json) const {
    const std::string where = WhereTensor(path_, name);
    if (!json.is_object()) throw Error("a tensor entry that is not an object", where, kDamaged);
    SafetensorsEntry entry{.name = name, .dtype = ParseDType(json, where), .shape = {}, .begin = 0, .end = 0};
    entry.shape = Integers(json, "shape", where);
    const std::vector<int64_t> offsets = Integers(json, "data_offsets", where);
    if (offsets.size() != 2) throw Error("data_offsets that are not two numbers", where, kDamaged);
    entry.begin = offsets[0];
    entry.end = offsets[1];
    if (entry.begin > entry.end || entry.end > data_bytes_) {
      throw Error(Concat("data_offsets [", entry.begin, ", ", entry.end, "] outside the file's ", data_bytes_,
                         " bytes of data"),
                  where, kDamaged);
    }
    const std::optional<int64_t> bytes = CheckedByteSize(entry.dtype, entry.shape);
    if (!bytes) throw Error(Concat("shape ", ToString(entry.shape), " too large"), where, kDamaged);
    if (*bytes != entry.end - entry.begin) {
      throw Error(Concat("shape ", ToString(entry.shape), " of ", Name(entry.dtype), " needs ", *bytes,
                         " bytes, data_offsets give ", entry.end - entry.begin),
                  where, kDamaged);
    }
    return entry;
  }

 private:
  static DType ParseDType(const Json& json, const std::string& where) {
    const auto found = json.find("dtype");
    if (found == json.end() || !found->is_string())
      throw Error("a tensor entry without dtype", where, kDamaged);
    const auto& name = found->get_ref<const std::string&>();
    const std::optional<DType> dtype = DTypeFromName(name);
    if (!dtype || IsBlockType(*dtype)) {
      throw Error(Concat("data type ", Quoted(name), " is not supported"), where,
                  "use a checkpoint in F32, F16 or BF16, or one quantized in a format that is read");
    }
    return *dtype;
  }

  static std::vector<int64_t> Integers(const Json& json, const char* key, const std::string& where) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_array())
      throw Error(Concat("a tensor entry without ", key), where, kDamaged);
    std::vector<int64_t> numbers;
    for (const Json& value : *found) {
      if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) {
        throw Error(Concat(key, " with something that is not a size"), where, kDamaged);
      }
      numbers.push_back(value.get<int64_t>());
    }
    return numbers;
  }

  const std::string& path_;
  int64_t data_bytes_;
};

// Sorted by place, each tensor must begin where the one before ends, and the last end with the file.
void CheckCoverage(std::vector<SafetensorsEntry>& entries, int64_t data_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  int64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != covered) {
      throw Error(Concat(entry.begin < covered ? "a tensor that overlaps the one before it"
                                               : "unused bytes before a tensor",
                         " (it begins at ", entry.begin, ", expected ", covered, ")"),
                  WhereTensor(path, entry.name), kDamaged);
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    throw Error(Concat("the tensors end at ", covered, " of ", data_bytes, " bytes of data"), path, kDamaged);
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::Open(const std::filesystem::path& path) {
  SafetensorsFile result;
  result.file_ = MappedFile::Open(path);
  const std::string path_text = path.string();
  const std::string_view text = HeaderText(*result.file_);
  const Json header = ParseHeader(text, path_text);
  result.metadata_ = ParseMetadata(header, path_text);

  const std::byte* data = result.file_->data() + 8 + text.size();
  const int64_t data_bytes = result.file_->size() - 8 - static_cast<int64_t>(text.size());
  const EntryParser parser(path_text, data_bytes);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name != "__metadata__") entries.push_back(parser.Parse(name, json));
  }
  CheckCoverage(entries, data_bytes, path_text);
  for (SafetensorsEntry& entry : entries) {
    const TensorView view{entry.dtype, std::move(entry.shape), data + entry.begin};
    result.tensors_.emplace(std::move(entry.name), view);
  }
  return result;
}

std::optional<TensorView> SafetensorsFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return std::nullopt;
  return found->second;
}

TensorView SafetensorsFile::Get(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw Error(Concat("no tensor ", Quoted(name)), path().string(), "give a file that holds it");
  }
  return found->second;
}

}  // namespace gptq
