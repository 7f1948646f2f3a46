// H = 2 / tokens * sum over tokens of x xᵀ, the metric in which the solver measures errors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "compute/backend.h"
#include "compute/gram.h"

namespace gptq {

// Symmetric; only the upper triangle is read. Row-major.
struct HessianView {
  const float* data = nullptr;
  int64_t columns = 0;

  float at(int64_t i, int64_t j) const { return i <= j ? data[i * columns + j] : data[j * columns + i]; }
  std::vector<float> Diagonal() const;
};

struct Hessian {
  int64_t columns = 0;
  int64_t tokens = 0;
  std::vector<float> values;  // [columns, columns], upper triangle; the rest is 0

  HessianView view() const { return {values.data(), columns}; }
};

// False where an entry of the upper triangle is NaN or infinite.
bool AllFinite(const HessianView& hessian);

// Inputs with NaN or infinite entries are cut loose from all others, with the mean of the finite diagonal as
// their own: their weights are then rounded to nearest, and the others solved. Returns how many; 0 leaves H
// as it is.
int64_t RepairHessian(Hessian& hessian);

// Sums in float32. The result depends on the sequence of tokens only, not on how it is cut into calls or on
// the number of threads.
class HessianAccumulator {
 public:
  // `backend`: sums in its memory if it has any, of inputs rounded to float16.
  explicit HessianAccumulator(int64_t columns, Backend* backend = nullptr);

  // `x` [tokens, columns], `stride` elements between tokens.
  void Add(const float* x, int64_t tokens, int64_t stride, ThreadPool& pool);
  // Of inputs that lie with the backend, each token's times its factor if there are any.
  void AddOnDevice(MatrixView x, std::span<const float> factors = {});
  bool on_device() const { return backend_ != nullptr; }

  int64_t tokens() const { return tokens_; }
  // Ends the accumulator: nothing is added any more. Without tokens H is 0. NaN and infinite inputs show as
  // non-finite entries of the diagonal: see AllFinite.
  Hessian Finish(ThreadPool& pool);

 private:
  int64_t columns_;
  Gram gram_;
  int64_t tokens_ = 0;
  int64_t pending_ = 0;         // tokens waiting in chunk_
  std::vector<float> chunk_;    // [kChunkTokens, columns], allocated when a call leaves a remainder
  std::vector<float> sum_;      // [columns, columns], upper triangle
  Backend* backend_ = nullptr;  // that has
  Matrix device_sum_;           // instead of it
};

}  // namespace gptq
