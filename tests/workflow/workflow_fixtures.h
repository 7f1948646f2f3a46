// Shared by the workflow tests: models of the test data, logits of a model for golden tokens, and their
// distance.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "io/safetensors.h"
#include "tests/test_util.h"
#include "text/tokenizer_files.h"
#include "workflow/logits.h"
#include "workflow/model_files.h"

namespace gptq {

inline std::filesystem::path Stories() {
  return std::filesystem::path(GPTQ_SOURCE_DIR) / "models/stories260K";
}

// Folders of tests/data/models.
inline std::vector<std::string> GoldenModels() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TestData("models"))) {
    if (std::filesystem::exists(entry.path() / "golden.safetensors"))
      names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

// max |a - golden| / std(golden)
inline double Distance(const Tensor& a, const TensorView& golden) {
  const auto x = a.As<float>();
  const auto y = golden.As<float>();
  CHECK(x.size() == y.size());
  double sum = 0, squares = 0, worst = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    sum += y[i];
    squares += static_cast<double>(y[i]) * y[i];
    const double difference = std::abs(static_cast<double>(x[i]) - y[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  const auto n = static_cast<double>(y.size());
  return worst / std::sqrt(squares / n - sum / n * (sum / n));
}

inline bool SameBytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::equal(a.data(), a.data() + a.bytes(), b.data());
}

inline LogitsResult GoldenRun(const std::filesystem::path& model, const SafetensorsFile& golden,
                              int threads = 2) {
  const auto files = ModelFiles::Open(model);
  const auto backend = MakeCpuBackend(threads);
  return ComputeLogits(*files, *backend, golden.Get("input_ids"), "golden", /*hidden_states=*/true);
}

}  // namespace gptq
