// The input of a fuzz target as a file, for readers that map files.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/convert.h"
#include "base/error.h"
#include "io/checkpoint.h"

namespace gptq {

// One a process, written anew for each input.
inline std::filesystem::path FuzzFile(const uint8_t* data, size_t size, const char* name) {
  static const std::filesystem::path folder = [] {
    const std::filesystem::path shared = "/dev/shm";  // in memory, where there is such a place
    std::filesystem::path path =
        std::filesystem::is_directory(shared) ? shared : std::filesystem::temp_directory_path();
    path /= "gptq_fuzz_" + std::to_string(getpid());
    std::filesystem::create_directories(path);
    return path;
  }();
  const std::filesystem::path path = folder / name;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return path;
}

// Reads every byte of every tensor; Error is the only exception that may come.
inline void FuzzCheckpoint(const uint8_t* data, size_t size, const char* name) {
  try {
    const CheckpointReader reader = CheckpointReader::Open(FuzzFile(data, size, name));
    for (const std::string& tensor : reader.names()) {
      const TensorView view = reader.Get(tensor);
      if (view.elements() < 1'000'000) ToFloat(view);
    }
  } catch (const Error&) {
  }
}

}  // namespace gptq
