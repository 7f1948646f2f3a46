// The table of contents of a ZIP archive whose files are stored, not compressed, as PyTorch writes them.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "io/mapped_file.h"

namespace gptq {

bool LooksLikeZip(const MappedFile& file);

// Name -> contents, views of the mapped file; ZIP64 included. Throws Error naming the file, and the member
// where there is one, for what is damaged, compressed, encrypted or there twice.
std::map<std::string, std::string_view, std::less<>> ReadZipArchive(const MappedFile& file);

}  // namespace gptq
