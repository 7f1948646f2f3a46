#include "io/zip_archive.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "io/quoted.h"

namespace gptq {
namespace {

// .ZIP File Format Specification (APPNOTE.TXT) 6.3.10, section 4.3.
constexpr uint32_t kLocalHeader = 0x04034b50;
constexpr uint32_t kDirectoryEntry = 0x02014b50;
constexpr uint32_t kDirectoryEnd = 0x06054b50;
constexpr uint32_t kDirectoryEnd64 = 0x06064b50;
constexpr uint32_t kLocator64 = 0x07064b50;
constexpr size_t kDirectoryEndSize = 22;
constexpr size_t kLocatorSize = 20;
constexpr uint16_t kExtra64 = 1;

class Reader {
 public:
  explicit Reader(const MappedFile& file)
      : bytes_(reinterpret_cast<const char*>(file.data()), static_cast<size_t>(file.size())),
        where_(file.path().string()) {}

  std::map<std::string, std::string_view, std::less<>> Read() {
    const Directory directory = FindDirectory();
    std::map<std::string, std::string_view, std::less<>> members;
    uint64_t at = directory.offset;
    for (uint64_t i = 0; i < directory.entries; ++i) {
      auto [name, content] = ReadEntry(&at);
      if (!members.emplace(name, content).second)
        throw Error(Concat("a ZIP archive with ", Quoted(name), " twice"), where_, kDamaged);
    }
    return members;
  }

 private:
  static constexpr std::string_view kDamaged = "the file is damaged or incomplete: fetch or write it again";

  struct Directory {
    uint64_t entries;
    uint64_t offset;
  };

  std::string_view Range(uint64_t offset, uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset)
      throw Error("a ZIP archive with a part outside the file", where_, kDamaged);
    return bytes_.substr(static_cast<size_t>(offset), static_cast<size_t>(size));
  }

  template <typename Number>
  Number Get(uint64_t offset) const {
    Number number;
    std::memcpy(&number, Range(offset, sizeof(Number)).data(), sizeof(Number));
    return number;
  }

  // The record at the very end, behind which a comment may stand.
  uint64_t FindEnd() const {
    constexpr size_t kLongestComment = 0xffff;
    if (bytes_.size() >= kDirectoryEndSize) {
      const size_t last = bytes_.size() - kDirectoryEndSize;
      for (size_t at = last; last - at <= kLongestComment; --at) {
        if (Get<uint32_t>(at) == kDirectoryEnd) return at;
        if (at == 0) break;
      }
    }
    throw Error("a ZIP archive without its table of contents", where_, kDamaged);
  }

  Directory FindDirectory() const {
    const uint64_t end = FindEnd();
    Directory directory{Get<uint16_t>(end + 10), Get<uint32_t>(end + 16)};
    if (end < kLocatorSize || Get<uint32_t>(end - kLocatorSize) != kLocator64) return directory;
    const auto end64 = Get<uint64_t>(end - kLocatorSize + 8);
    if (end64 > bytes_.size() || Get<uint32_t>(end64) != kDirectoryEnd64)
      throw Error("a ZIP64 archive without its table of contents", where_, kDamaged);
    return {Get<uint64_t>(end64 + 32), Get<uint64_t>(end64 + 48)};
  }

  struct Sizes {
    uint64_t compressed, size, offset;
  };

  // The ZIP64 field holds those of the sizes that do not fit 32 bits, in this order.
  void ReadExtra64(uint64_t at, uint64_t size, Sizes* sizes) const {
    const uint64_t end = at + size;
    while (end - at >= 4) {
      const auto kind = Get<uint16_t>(at);
      const uint64_t length = Get<uint16_t>(at + 2);
      at += 4;
      if (length > end - at) break;
      const uint64_t next = at + length;
      for (uint64_t* value : {&sizes->size, &sizes->compressed, &sizes->offset}) {
        if (kind != kExtra64 || *value != UINT32_MAX || next - at < 8) continue;
        *value = Get<uint64_t>(at);
        at += 8;
      }
      at = next;
    }
  }

  std::pair<std::string, std::string_view> ReadEntry(uint64_t* at) const {
    constexpr uint64_t kEntrySize = 46;
    if (Get<uint32_t>(*at) != kDirectoryEntry)
      throw Error("a ZIP archive with a damaged table of contents", where_, kDamaged);
    const uint64_t name_size = Get<uint16_t>(*at + 28);
    const uint64_t extra_size = Get<uint16_t>(*at + 30);
    const uint64_t comment_size = Get<uint16_t>(*at + 32);
    const std::string name(Range(*at + kEntrySize, name_size));
    Range(*at + kEntrySize + name_size, extra_size);
    Sizes sizes{Get<uint32_t>(*at + 20), Get<uint32_t>(*at + 24), Get<uint32_t>(*at + 42)};
    ReadExtra64(*at + kEntrySize + name_size, extra_size, &sizes);
    const bool encrypted = (Get<uint16_t>(*at + 8) & 1) != 0;
    if (encrypted || Get<uint16_t>(*at + 10) != 0 || sizes.compressed != sizes.size) {
      throw Error(Concat("a ZIP archive whose ", Quoted(name), " is compressed or encrypted"), where_,
                  "save the weights again with torch.save, best as safetensors");
    }
    *at += kEntrySize + name_size + extra_size + comment_size;
    return {name, Content(sizes)};
  }

  std::string_view Content(const Sizes& sizes) const {
    constexpr uint64_t kHeaderSize = 30;
    Range(sizes.offset, kHeaderSize);
    if (Get<uint32_t>(sizes.offset) != kLocalHeader)
      throw Error("a ZIP archive whose table of contents points at no file", where_, kDamaged);
    const uint64_t name_size = Get<uint16_t>(sizes.offset + 26);
    const uint64_t extra_size = Get<uint16_t>(sizes.offset + 28);
    return Range(sizes.offset + kHeaderSize + name_size + extra_size, sizes.size);
  }

  std::string_view bytes_;
  std::string where_;
};

}  // namespace

bool LooksLikeZip(const MappedFile& file) {
  return file.size() >= 4 && std::memcmp(file.data(), "PK\3\4", 4) == 0;
}

std::map<std::string, std::string_view, std::less<>> ReadZipArchive(const MappedFile& file) {
  return Reader(file).Read();
}

}  // namespace gptq
