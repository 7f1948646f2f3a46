// A quantized linear as the named tensors of a folder, whatever its format.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/packed_weight.h"
#include "base/tensor.h"
#include "io/tensor_file.h"
#include "quant/weight_format.h"

namespace gptq {

// What is known of a quantized linear before its codes are.
struct LinearShape {
  int64_t rows = 0, columns = 0, groups = 0;
  DType scale_type = DType::kF16;
  bool sequential_groups = true;
};

// Names, types and shapes of what StoreLinear will return.
std::vector<TensorDeclaration> DeclareLinear(const std::string& module, const LinearShape& shape,
                                             const LinearSettings& settings);

// Throws Error naming the module where the format cannot hold the weight. Of the settings, only what the
// weight does not say is used: the format, and whether zeros are stored.
// `sequential_groups`: as declared.
std::vector<std::pair<std::string, Tensor>> StoreLinear(const std::string& module, const PackedWeight& weight,
                                                        const LinearSettings& settings,
                                                        bool sequential_groups);

// The tensor without which a module is no quantized linear: "MODULE.qweight".
std::string CodesName(const std::string& module, WeightFormat format);
// The module whose quantized tensors `tensor` belongs to, by the kind of its name; nothing where it is none.
std::optional<std::string> ModuleOf(std::string_view tensor, WeightFormat format);

// Gives a tensor by its name.
using FindTensor = std::function<std::optional<TensorView>(const std::string&)>;

// Throws Error naming `where` and the module. `columns` and `warnings`: see FromGptqTensors.
PackedWeight LoadLinear(const FindTensor& find, const std::string& module, const LinearSettings& settings,
                        const std::string& where, std::vector<std::string>* warnings,
                        std::optional<int64_t> columns);

// rows * columns, as far as shapes tell without a look at the contents.
int64_t StoredWeights(const FindTensor& find, const std::string& module, const LinearSettings& settings);

}  // namespace gptq
