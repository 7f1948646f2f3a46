// The pickle of a torch.save file, understood: which tensors it names and where in which storage they lie.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"
#include "io/pickle.h"

namespace gptq {

// Memory that tensors share, named by a persistent id ('storage', type, key, device, elements[, view]).
struct TorchStorage {
  std::string_view key;
  std::optional<DType> dtype;  // none: untyped, counted in bytes
  int64_t elements = 0;        // that the tensors may use
  int64_t offset = 0;          // elements before these, where the id names a part of the storage

  int64_t element_bytes() const { return dtype ? Info(*dtype).block_bytes : 1; }
};

struct TorchTableEntry {
  std::string name;
  TorchStorage storage;
  DType dtype = DType::kF32;
  int64_t offset = 0;  // elements of dtype from the start of the storage
  Shape shape = {};
  Shape strides = {};  // elements, one a dimension
};

// Classes and functions of which tensors are made.
bool IsTorchGlobal(std::string_view module, std::string_view name);

// The id of a storage. Throws Error naming `where` for what is none.
TorchStorage ParseTorchStorage(const PickleValue& persistent, std::string_view where);

// The tensors of a state dict, or of a training checkpoint's state dict ("state_dict", "model" or "module").
// Each lies inside its storage, and none has more elements than it. Throws Error naming `where` and the
// tensor.
std::vector<TorchTableEntry> ParseTorchTable(const PickleValue& root, std::string_view where);

}  // namespace gptq
