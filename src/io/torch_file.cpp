#include "io/torch_file.h"

#include <cstring>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/checked_size.h"
#include "io/pickle.h"
#include "io/quoted.h"
#include "io/torch_table.h"
#include "io/zip_archive.h"

namespace gptq {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kDamagedTorchFile = "the file is damaged or incomplete: fetch or save it again";

using Storages = std::map<std::string, std::string_view, std::less<>>;  // key -> bytes

struct Contents {
  Pickle table;
  Storages storages;
};

[[noreturn]] void Damaged(std::string_view what, const std::string& where) {
  throw Error(what, where, kDamagedTorchFile);
}

// ROOT/data.pkl, and one file ROOT/data/KEY a storage.
Contents ReadZip(const MappedFile& file, const std::string& where) {
  constexpr std::string_view kTable = "/data.pkl";
  Contents contents;
  const auto members = ReadZipArchive(file);
  std::string root;
  for (const auto& [name, bytes] : members) {
    if (name.ends_with(kTable) && name.find('/') == name.size() - kTable.size())
      root = name.substr(0, name.size() - kTable.size());
  }
  const auto table = members.find(root + std::string(kTable));
  if (root.empty() || table == members.end()) {
    const bool script = members.contains(root + "/constants.pkl");
    Damaged(
        script ? "a TorchScript program, no table of tensors" : "a ZIP archive without PyTorch's data.pkl",
        where);
  }
  const auto order = members.find(root + "/byteorder");
  if (order != members.end() && order->second != "little")
    throw Error("numbers in big-endian order", where, "save the file again on a little-endian machine");
  contents.table = Pickle::Parse(table->second, IsTorchGlobal, where);
  const std::string folder = root + "/data/";
  for (auto member = members.lower_bound(folder); member != members.end(); ++member) {
    if (!member->first.starts_with(folder)) break;
    contents.storages.emplace(member->first.substr(folder.size()), member->second);
  }
  return contents;
}

// What the pickles before the table say, at fixed places.
constexpr std::string_view kLegacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kLegacyVersion = 1001;

void CheckLegacySystem(const PickleValue& system, const std::string& where) {
  if (system.kind != Kind::kDict) Damaged("a PyTorch file without its header", where);
  for (size_t i = 0; i + 1 < system.items.size(); i += 2) {
    if (system.items[i]->text == "little_endian" && system.items[i + 1]->integer == 0)
      throw Error("numbers in big-endian order", where, "save the file again on a little-endian machine");
  }
}

// Behind the pickles: for each key of the list the number of elements (int64) and the elements.
Storages ReadLegacyStorages(std::string_view bytes, const PickleValue& keys, const Pickle& table,
                            const std::string& where) {
  std::map<std::string_view, int64_t> element_bytes;
  for (const PickleValue& value : table.values()) {
    if (value.kind != Kind::kPersistent) continue;
    const TorchStorage storage = ParseTorchStorage(value, where);
    const auto [known, added] = element_bytes.emplace(storage.key, storage.element_bytes());
    if (!added && known->second != storage.element_bytes())
      Damaged(Concat("storage ", Quoted(storage.key), " of two data types"), where);
  }
  if (keys.kind != Kind::kList) Damaged("a PyTorch file without its list of storages", where);
  Storages storages;
  for (const PickleValue* key : keys.items) {
    const auto size = element_bytes.find(key->text);
    if (key->kind != Kind::kText || size == element_bytes.end())
      Damaged("a storage that no tensor uses", where);
    int64_t elements = 0;
    if (bytes.size() < sizeof(elements)) Damaged("a PyTorch file that ends before its storages", where);
    std::memcpy(&elements, bytes.data(), sizeof(elements));
    bytes.remove_prefix(sizeof(elements));
    const std::optional<int64_t> count = CheckedMultiply(elements, size->second);
    if (!count || static_cast<uint64_t>(*count) > bytes.size())
      Damaged(Concat("storage ", Quoted(key->text), " of ", elements, " elements leaves the file"), where);
    storages.emplace(key->text, bytes.substr(0, static_cast<size_t>(*count)));
    bytes.remove_prefix(static_cast<size_t>(*count));
  }
  return storages;
}

// Before PyTorch 1.6: pickles of a magic number, a version, the system, the table and the storages' keys.
Contents ReadLegacy(const MappedFile& file, const std::string& where) {
  std::string_view bytes(reinterpret_cast<const char*>(file.data()), static_cast<size_t>(file.size()));
  const auto next = [&] {
    Pickle pickle = Pickle::Parse(bytes, IsTorchGlobal, where);
    bytes.remove_prefix(pickle.size());
    return pickle;
  };
  const Pickle magic = next();
  if (magic.root().kind != Kind::kBigInteger || magic.root().text != kLegacyMagic)
    throw Error("a pickle that torch.save did not write", where, "give a file of weights");
  const Pickle version = next();
  if (version.root().kind != Kind::kInteger || version.root().integer != kLegacyVersion)
    Damaged("an unknown version of PyTorch's old format", where);
  const Pickle system = next();
  CheckLegacySystem(system.root(), where);
  Contents contents;
  contents.table = next();
  const Pickle keys = next();
  contents.storages = ReadLegacyStorages(bytes, keys.root(), contents.table, where);
  return contents;
}

Contents ReadContents(const MappedFile& file) {
  const std::string where = file.path().string();
  if (LooksLikeZip(file)) return ReadZip(file, where);
  if (file.size() >= 2 && file.data()[0] == std::byte{0x80}) return ReadLegacy(file, where);
  throw Error("neither a ZIP archive nor a pickle of PyTorch", where, "give a file that torch.save wrote");
}

const std::byte* StorageBytes(const Storages& storages, const TorchStorage& storage,
                              const std::string& where) {
  const auto found = storages.find(storage.key);
  if (found == storages.end()) Damaged(Concat("storage ", Quoted(storage.key), " is missing"), where);
  const std::optional<int64_t> end = CheckedAdd(storage.offset, storage.elements);
  const std::optional<int64_t> bytes = end ? CheckedMultiply(*end, storage.element_bytes()) : std::nullopt;
  if (!bytes || static_cast<uint64_t>(*bytes) > found->second.size()) {
    Damaged(Concat("storage ", Quoted(storage.key), " has ", found->second.size(), " bytes, the table says ",
                   storage.offset + storage.elements, " elements"),
            where);
  }
  return reinterpret_cast<const std::byte*>(found->second.data()) + storage.offset * storage.element_bytes();
}

bool IsContiguous(const Shape& shape, const Shape& strides) {
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

}  // namespace

TorchTensor::TorchTensor(DType dtype, Shape shape, Shape strides, const std::byte* first)
    : dtype_(dtype),
      shape_(std::move(shape)),
      strides_(std::move(strides)),
      first_(first),
      contiguous_(ElementCount(shape_) == 0 || IsContiguous(shape_, strides_)) {
  for (size_t i = 0; i < shape_.size(); ++i) {
    if (shape_[i] == 1) strides_[i] = 0;  // never taken, and as large as the file likes
  }
}

TensorView TorchTensor::View() const {
  if (contiguous_) return {dtype_, shape_, first_};
  std::call_once(gather_, [&] {
    gathered_ = Tensor::Uninitialized(dtype_, shape_);
    const auto element = static_cast<size_t>(Info(dtype_).block_bytes);
    const int64_t count = gathered_.elements();
    Shape at(shape_.size(), 0);
    int64_t from = 0;
    for (int64_t to = 0; to < count; ++to) {
      std::memcpy(gathered_.data() + static_cast<size_t>(to) * element,
                  first_ + static_cast<size_t>(from) * element, element);
      for (size_t i = shape_.size(); i-- > 0;) {  // the next place, the last dimension fastest
        from += strides_[i];
        if (++at[i] < shape_[i]) break;
        from -= strides_[i] * shape_[i];
        at[i] = 0;
      }
    }
  });
  return gathered_.view();
}

TorchFile TorchFile::Open(const std::filesystem::path& path) {
  TorchFile result;
  result.file_ = MappedFile::Open(path);
  const Contents contents = ReadContents(*result.file_);
  for (TorchTableEntry& entry : ParseTorchTable(contents.table.root(), path.string())) {
    const std::string where = WhereTensor(path.string(), entry.name);
    const std::byte* storage = StorageBytes(contents.storages, entry.storage, where);
    const std::byte* first = storage + ByteSize(entry.dtype, entry.offset);
    result.tensors_.emplace(entry.name,
                            std::make_shared<const TorchTensor>(entry.dtype, std::move(entry.shape),
                                                                std::move(entry.strides), first));
  }
  return result;
}

}  // namespace gptq
