// Where a decoder's tensors come from: a checkpoint's reader, seen by the names that the model uses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "compute/weight.h"

namespace gptq {

// How a file stores a matrix: row by row, [rows, columns], or as its transpose.
enum class MatrixLayout { kRows, kTransposed };

// Names are Hugging Face module names without ".weight"/".bias". The memory of returned weights and views
// belongs to the source, which must outlive them.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The matrix [rows, columns] of a module, plain or quantized; nullopt if there is none. Throws Error for a
  // wrong shape or damaged contents.
  virtual std::optional<Weight> FindMatrix(const std::string& module, int64_t rows, int64_t columns,
                                           MatrixLayout layout) = 0;
  // The vector MODULE.`kind` [size] ("weight", "bias") as float32; nullopt if there is none.
  virtual std::optional<std::vector<float>> FindVector(const std::string& module, const std::string& kind,
                                                       int64_t size) = 0;
  // What the file calls MODULE.`kind`, for messages.
  virtual std::string StoredName(const std::string& module, const std::string& kind) const {
    return module + "." + kind;
  }
  // The file to name in messages.
  virtual std::string Where() const = 0;

  // As above, but absence is an Error that names the tensor.
  Weight Matrix(const std::string& module, int64_t rows, int64_t columns,
                MatrixLayout layout = MatrixLayout::kRows);
  std::vector<float> Vector(const std::string& module, const std::string& kind, int64_t size);
};

}  // namespace gptq
