// The inner loops of dense products, one table per instruction set. Operands are first laid out in panels: as
// wide as a register tile of the result is high (left operand) or wide (right operand), depth by depth.
// Element (k, i) of a panel of width w lies at k * w + i.
#pragma once

#include <cstdint>

namespace gptq {

// Every element of a product is one chain of multiply-adds in the order of the depth, whatever panel and tile
// it lies in: results do not depend on how a product is cut into calls, except along the depth.
struct ProductKernels {
  int64_t left_width = 0;   // rows of a register tile
  int64_t right_width = 0;  // columns of a register tile

  // `count` lines of `depth` elements, contiguous, `stride` apart, into panels that lie one after the other;
  // zeros fill the last one.
  void (*pack_left_lines)(const float* source, int64_t stride, int64_t count, int64_t depth, float* panels);
  void (*pack_right_lines)(const float* source, int64_t stride, int64_t count, int64_t depth, float* panels);
  // The same from the transposed matrix, `depth` lines of `count` elements, into panels `panel_stride` apart.
  void (*pack_left_columns)(const float* source, int64_t stride, int64_t count, int64_t depth,
                            int64_t panel_stride, float* panels);
  void (*pack_right_columns)(const float* source, int64_t stride, int64_t count, int64_t depth,
                             int64_t panel_stride, float* panels);
  // c [rows, columns] = left right, or += where `add`. left: as many panels as there are rows, `left_stride`
  // elements apart; right: one panel, columns <= right_width.
  void (*multiply)(int64_t rows, int64_t columns, int64_t depth, const float* left, int64_t left_stride,
                   const float* right, bool add, float* c, int64_t c_stride);

  int64_t PaddedLeft(int64_t rows) const { return (rows + left_width - 1) / left_width * left_width; }
  int64_t PaddedRight(int64_t columns) const {
    return (columns + right_width - 1) / right_width * right_width;
  }
};

}  // namespace gptq
