// The inner loops of product_kernels.h, written once; included after vector_kernels_generic.h, and like it a
// text to be compiled several times.

// The result tile and what is multiplied fit the registers: 16 of them, or 32 with AVX-512.
constexpr int kTileRows = kLanes == 16 ? 8 : 6;
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kLanes;

typedef float Quad __attribute__((vector_size(4 * sizeof(float)), aligned(4), may_alias));
inline Quad LoadQuad(const float* p) { return *reinterpret_cast<const Quad*>(p); }
inline void StoreQuad(float* p, Quad v) { *reinterpret_cast<Quad*>(p) = v; }

// 4 lines of 4 elements at `source` become 4 columns at `out`, `width` apart.
inline void Transpose(const float* source, int64_t stride, float* out, int64_t width) {
  const Quad a = LoadQuad(source), b = LoadQuad(source + stride);
  const Quad c = LoadQuad(source + 2 * stride), d = LoadQuad(source + 3 * stride);
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  StoreQuad(out, __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5));
  StoreQuad(out + width, __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7));
  StoreQuad(out + 2 * width, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
  StoreQuad(out + 3 * width, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
}

// The same of 2 lines.
inline void TransposePair(const float* source, int64_t stride, float* out, int64_t width) {
  const Quad a = LoadQuad(source), b = LoadQuad(source + stride);
  const Quad low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
             high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const float* lows = reinterpret_cast<const float*>(&low);
  const float* highs = reinterpret_cast<const float*>(&high);
  __builtin_memcpy(out, lows, 2 * sizeof(float));
  __builtin_memcpy(out + width, lows + 2, 2 * sizeof(float));
  __builtin_memcpy(out + 2 * width, highs, 2 * sizeof(float));
  __builtin_memcpy(out + 3 * width, highs + 2, 2 * sizeof(float));
}

template <int kWidth>
void PackLines(const float* source, int64_t stride, int64_t count, int64_t depth, float* panel) {
  for (int64_t first = 0; first < count; first += kWidth) {
    int64_t k = 0;
    for (; first + kWidth <= count && k + 4 <= depth; k += 4) {
      const float* from = source + first * stride + k;
      float* to = panel + k * kWidth;
      for (int line = 0; line + 4 <= kWidth; line += 4)
        Transpose(from + line * stride, stride, to + line, kWidth);
      if (kWidth % 4 == 2) TransposePair(from + (kWidth - 2) * stride, stride, to + kWidth - 2, kWidth);
    }
    for (; k < depth; ++k) {
      for (int64_t line = 0; line < kWidth; ++line)
        panel[k * kWidth + line] = first + line < count ? source[(first + line) * stride + k] : 0.0f;
    }
    panel += kWidth * depth;
  }
}

template <int kWidth>
inline void PackFullPanels(int64_t panels, const float* source, int64_t stride, int64_t depth,
                           int64_t panel_stride, float* out) {
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      __builtin_memcpy(out + panel * panel_stride + k * kWidth, source + k * stride + panel * kWidth,
                       kWidth * sizeof(float));
    }
  }
}

// Panels side by side, so that each cache line of the source is read once.
template <int kWidth>
void PackColumns(const float* source, int64_t stride, int64_t count, int64_t depth, int64_t panel_stride,
                 float* panels) {
  constexpr int64_t kTogether = 8;
  const int64_t full = count / kWidth;
  int64_t panel = 0;
  for (; panel + kTogether <= full; panel += kTogether) {
    PackFullPanels<kWidth>(kTogether, source + panel * kWidth, stride, depth, panel_stride,
                           panels + panel * panel_stride);
  }
  PackFullPanels<kWidth>(full - panel, source + panel * kWidth, stride, depth, panel_stride,
                         panels + panel * panel_stride);
  if (full * kWidth == count) return;
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t i = 0; i < kWidth; ++i) {
      const int64_t column = full * kWidth + i;
      panels[full * panel_stride + k * kWidth + i] = column < count ? source[k * stride + column] : 0.0f;
    }
  }
}

// c [kTileRows, kTileColumns] = left right, or +=. The sums must stay in registers: without the pragma they
// go through memory.
#define GPTQ_UNROLL _Pragma("GCC unroll 16")
inline void MultiplyTile(int64_t depth, const float* left, const float* right, bool add, float* c,
                         int64_t c_stride) {
  Vector sums[kTileRows][kTileVectors];
  GPTQ_UNROLL for (int i = 0; i < kTileRows; ++i) {
    GPTQ_UNROLL for (int j = 0; j < kTileVectors; ++j) sums[i][j] = Vector{};
    __builtin_prefetch(c + i * c_stride, 1);
    __builtin_prefetch(c + i * c_stride + kTileColumns - 1, 1);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector factor[kTileVectors];
    GPTQ_UNROLL for (int j = 0; j < kTileVectors; ++j) factor[j] = Load(right + j * kLanes);
    GPTQ_UNROLL for (int i = 0; i < kTileRows; ++i) {
      const Vector value = Splat(left[i]);
      GPTQ_UNROLL for (int j = 0; j < kTileVectors; ++j) sums[i][j] += value * factor[j];
    }
    left += kTileRows;
    right += kTileColumns;
  }
  if (add) {
    GPTQ_UNROLL for (int i = 0; i < kTileRows; ++i) {
      GPTQ_UNROLL for (int j = 0; j < kTileVectors; ++j) sums[i][j] += Load(c + i * c_stride + j * kLanes);
    }
  }
  GPTQ_UNROLL for (int i = 0; i < kTileRows; ++i) {
    GPTQ_UNROLL for (int j = 0; j < kTileVectors; ++j) Store(c + i * c_stride + j * kLanes, sums[i][j]);
  }
}
#undef GPTQ_UNROLL

void MultiplyPanels(int64_t rows, int64_t columns, int64_t depth, const float* left, int64_t left_stride,
                    const float* right, bool add, float* c, int64_t c_stride) {
  for (int64_t row = 0; row < rows; row += kTileRows) {
    float* out = c + row * c_stride;
    if (row + kTileRows <= rows && columns == kTileColumns) {
      MultiplyTile(depth, left, right, add, out, c_stride);
    } else {
      float tile[kTileRows * kTileColumns];
      MultiplyTile(depth, left, right, false, tile, kTileColumns);
      for (int64_t i = 0; i < kTileRows && row + i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          const float sum = tile[i * kTileColumns + j];
          out[i * c_stride + j] = add ? out[i * c_stride + j] + sum : sum;
        }
      }
    }
    left += left_stride;
  }
}

constexpr ProductKernels kProductKernels = {kTileRows,
                                            kTileColumns,
                                            PackLines<kTileRows>,
                                            PackLines<kTileColumns>,
                                            PackColumns<kTileRows>,
                                            PackColumns<kTileColumns>,
                                            MultiplyPanels};
