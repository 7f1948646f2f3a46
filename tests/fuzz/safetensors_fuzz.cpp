#include "tests/fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gptq::FuzzCheckpoint(data, size, "x.safetensors");
  return 0;
}
