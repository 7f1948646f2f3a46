#include "model/stage.h"

namespace gptq {

double Stage::MultipliedWeights(const ModelSpec& spec) const {
  double weights = 0;
  for (const LinearGroup& group : groups) {
    const double share = group.expert < 0 ? 1.0
                                          : static_cast<double>(spec.experts.per_token) /
                                                static_cast<double>(spec.experts.experts);
    for (size_t i = group.first; i < group.first + group.count; ++i)
      weights += share * static_cast<double>(linears[i].weight.rows()) *
                 static_cast<double>(linears[i].weight.columns());
  }
  return weights;
}

LinearLayer LoadLinear(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block,
                       int64_t outputs, int64_t inputs, int64_t part) {
  LinearLayer linear;
  linear.name = spec.Name(role, block, part);
  linear.weight = source.Matrix(linear.name, outputs, inputs,
                                spec.transposed_linears ? MatrixLayout::kTransposed : MatrixLayout::kRows);
  linear.bias = source.FindVector(linear.name, "bias", outputs).value_or(std::vector<float>{});
  return linear;
}

NormLayer LoadNorm(const ModelSpec& spec, WeightSource& source, std::string_view role, int64_t block,
                   int64_t width) {
  if (!spec.norm_weights) return {};
  const std::string name = spec.Name(role, block);
  NormLayer norm{source.Vector(name, "weight", width),
                 source.FindVector(name, "bias", width).value_or(std::vector<float>{})};
  for (float& weight : norm.weight) weight += spec.norm_offset;
  return norm;
}

MatrixView Apply(Backend& backend, const LinearLayer& linear, MatrixView input, int scratch_slot) {
  const MatrixView out = backend.Scratch(scratch_slot, input.rows, linear.weight.rows());
  backend.Linear(input, linear.weight, linear.bias, out);
  return out;
}

std::array<MatrixView, kMostTogether> ApplyTogether(Backend& backend, std::span<const LinearLayer> linears,
                                                    MatrixView input, int first_slot) {
  CHECK(linears.size() <= kMostTogether);
  std::array<MatrixView, kMostTogether> out;
  std::array<LinearProduct, kMostTogether> products;
  for (size_t i = 0; i < linears.size(); ++i) {
    out[i] = backend.Scratch(first_slot + static_cast<int>(i), input.rows, linears[i].weight.rows());
    products[i] = {&linears[i].weight, linears[i].bias, out[i]};
  }
  backend.Linears(input, std::span(products).first(linears.size()));
  return out;
}

void Normalize(Backend& backend, const ModelSpec& spec, const NormLayer& norm, MatrixView x, MatrixView y) {
  backend.Norm(spec.norm, spec.norm_epsilon, x, norm.weight, norm.bias, y);
}

}  // namespace gptq
