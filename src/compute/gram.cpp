#include "compute/gram.h"

#include <algorithm>

#include "base/integer.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

constexpr int64_t kGramDepth = 256;  // tokens multiplied at once
constexpr int64_t kStrip = 48;       // rows of the sum that are one piece of work: full panels of any height
constexpr int64_t kSlab = 16;        // tokens packed as one piece of work

// Some tokens, and the memory for all their columns as panels of either operand.
struct Block {
  const ProductKernels& product;
  const float* x;
  int64_t tokens, stride, columns;
  float *left, *right;

  int64_t slabs() const { return CeilDivide(tokens, kSlab); }

  void PackSlab(int64_t slab) const {
    const int64_t first = slab * kSlab, count = std::min(kSlab, tokens - first);
    product.pack_right_columns(x + first * stride, stride, columns, count, product.right_width * tokens,
                               right + first * product.right_width);
    product.pack_left_columns(x + first * stride, stride, columns, count, product.left_width * tokens,
                              left + first * product.left_width);
  }

  // Rows [first, first + kStrip) of the sum, from the diagonal on.
  void AddStrip(int64_t first, float* sum) const {
    const int64_t rows = std::min(kStrip, columns - first), width = product.right_width;
    for (int64_t column = first / width * width; column < columns; column += width) {
      const int64_t wanted = std::min(rows, column + width - first);  // further rows are below the diagonal
      product.multiply(wanted, std::min(width, columns - column), tokens, left + first * tokens,
                       product.left_width * tokens, right + column * tokens, true,
                       sum + first * columns + column, columns);
    }
  }
};

}  // namespace

void Gram::Add(const float* x, int64_t tokens, int64_t stride, float* sum, ThreadPool& pool) {
  const ProductKernels& product = DefaultVectorKernels().product;
  const int64_t left = kGramDepth * product.PaddedLeft(columns_),
                right = kGramDepth * product.PaddedRight(columns_);
  if (panels_.rows() == 0) panels_ = Matrix(2, left + right);
  const auto block = [&](int64_t index) {
    const int64_t first = index * kGramDepth;
    float* panels = panels_.data() + index % 2 * (left + right);
    return Block{product, x + first * stride, std::clamp<int64_t>(tokens - first, 0, kGramDepth),
                 stride,  columns_,           panels + right,
                 panels};
  };
  const Block start = block(0);
  pool.ParallelFor(start.slabs(), [&](int64_t slab) { start.PackSlab(slab); });
  const int64_t strips = CeilDivide(columns_, kStrip);
  for (int64_t index = 0; index * kGramDepth < tokens; ++index) {
    const Block current = block(index), next = block(index + 1);
    // The longest strips come first, and what the next block needs last, so that threads end together.
    pool.ParallelFor(strips + next.slabs(), [&](int64_t task) {
      if (task < strips) {
        current.AddStrip(task * kStrip, sum);
      } else {
        next.PackSlab(task - strips);
      }
    });
  }
}

}  // namespace gptq
