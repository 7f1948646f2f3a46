#include "model/weight_source.h"

namespace gptq {
namespace {

[[noreturn]] void Missing(const std::string& tensor, const std::string& where) {
  throw Error(Concat("tensor '", tensor, "' is missing"), where,
              "fetch the model again, or is it of another architecture?");
}

}  // namespace

Weight WeightSource::Matrix(const std::string& module, int64_t rows, int64_t columns, MatrixLayout layout) {
  std::optional<Weight> weight = FindMatrix(module, rows, columns, layout);
  if (!weight) Missing(StoredName(module, "weight"), Where());
  return std::move(*weight);
}

std::vector<float> WeightSource::Vector(const std::string& module, const std::string& kind, int64_t size) {
  std::optional<std::vector<float>> values = FindVector(module, kind, size);
  if (!values) Missing(StoredName(module, kind), Where());
  return std::move(*values);
}

}  // namespace gptq
