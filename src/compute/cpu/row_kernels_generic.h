// The inner loops of vector_kernels.h on rows as they are stored: weights, keys and values; included by
// vector_kernels_generic.h, and like it a text to be compiled several times.

#define GPTQ_UNROLL _Pragma("GCC unroll 16")  // sums must stay in registers

// What a row is read by.
struct Floats {
  typedef float Stored;
  static inline Vector Load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
};
struct Halves {
  typedef uint16_t Stored;
  static inline Vector Load(const uint16_t* p) { return LoadHalves(p); }
};
struct BFloats {
  typedef uint16_t Stored;
  static inline Vector Load(const uint16_t* p) {
    typedef uint16_t Shorts __attribute__((vector_size(kLanes * sizeof(uint16_t)), aligned(2), may_alias));
    const IntVector bits = __builtin_convertvector(*reinterpret_cast<const Shorts*>(p), IntVector) << 16;
    return reinterpret_cast<const Vector&>(bits);
  }
};

struct Bytes {
  typedef int8_t Stored;
  static inline Vector Load(const int8_t* p) { return LoadBytes(p); }
};

// The first `count` < kLanes elements, then zeros.
template <typename Type>
inline Vector LoadPart(const typename Type::Stored* p, int64_t count) {
  typename Type::Stored part[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = p[i];
  return Type::Load(part);
}

// In a tree: short where many sums of few terms are needed.
inline float QuickSum(Vector v) {
  const Quad* quads = reinterpret_cast<const Quad*>(&v);
  Quad sum = quads[0];
  for (int i = 1; i < kLanes / 4; ++i) sum += quads[i];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

template <typename Type>
float DotStored(const uint16_t* a, const float* b, int64_t n) {
  Vector sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    GPTQ_UNROLL for (int j = 0; j < 4; ++j) sums[j] +=
        Type::Load(a + i + j * kLanes) * Load(b + i + j * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += Type::Load(a + i) * Load(b + i);
  if (i < n) sums[1] += LoadPart<Type>(a + i, n - i) * LoadPart<Floats>(b + i, n - i);
  return QuickSum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Each row is widened once for all queries; kTogether rows at a time hide the latency of the sums.
template <typename Type, int kQueries>
inline void ScoreSome(const float* queries, const StoredRows& rows, float scale, float* scores,
                      int64_t score_stride) {
  constexpr int kTogether = kLanes == 16 || kQueries == 1 ? 4 : 2;
  const auto* stored = static_cast<const typename Type::Stored*>(rows.data);
  const int64_t n = rows.width;
  for (int64_t first = 0; first < rows.count; first += kTogether) {
    const typename Type::Stored* row[kTogether];
    GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) row[k] =
        stored + (first + k < rows.count ? first + k : first) * rows.stride;
    Vector sums[kQueries][kTogether] = {};
    const auto add = [&](const Vector* key, int64_t i, auto load) {
      GPTQ_UNROLL for (int q = 0; q < kQueries; ++q) {
        const Vector query = load(queries + q * n + i);
        GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) sums[q][k] += key[k] * query;
      }
    };
    Vector key[kTogether];
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) key[k] = Type::Load(row[k] + i);
      add(key, i, [](const float* p) { return Load(p); });
    }
    if (i < n) {
      GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) key[k] = LoadPart<Type>(row[k] + i, n - i);
      add(key, i, [=](const float* p) { return LoadPart<Floats>(p, n - i); });
    }
    GPTQ_UNROLL for (int q = 0; q < kQueries; ++q) {
      for (int k = 0; k < kTogether && first + k < rows.count; ++k)
        scores[q * score_stride + first + k] = scale * QuickSum(sums[q][k]);
    }
  }
}

template <typename Type>
void ScoreKeys(const float* queries, int64_t count, const StoredRows& rows, float scale, float* scores,
               int64_t score_stride) {
  int64_t q = 0;
  for (; q + 4 <= count; q += 4)
    ScoreSome<Type, 4>(queries + q * rows.width, rows, scale, scores + q * score_stride, score_stride);
  if (count - q == 3) {
    ScoreSome<Type, 3>(queries + q * rows.width, rows, scale, scores + q * score_stride, score_stride);
    return;
  }
  for (; q < count; ++q)
    ScoreSome<Type, 1>(queries + q * rows.width, rows, scale, scores + q * score_stride, score_stride);
}

template <typename Type, int kQueries>
inline void SumSome(const float* weights, int64_t weight_stride, const StoredRows& rows, float* out,
                    int64_t out_stride) {
  constexpr int kVectors = kLanes == 16 ? 4 : kQueries == 1 ? 8 : 2;  // the sums stay in registers
  const auto* stored = static_cast<const typename Type::Stored*>(rows.data);
  const int64_t n = rows.width;
  int64_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
    Vector sums[kQueries][kVectors] = {};
    for (int64_t k = 0; k < rows.count; ++k) {
      Vector value[kVectors];
      GPTQ_UNROLL for (int v = 0; v < kVectors; ++v) value[v] =
          Type::Load(stored + k * rows.stride + i + v * kLanes);
      GPTQ_UNROLL for (int q = 0; q < kQueries; ++q) {
        GPTQ_UNROLL for (int v = 0; v < kVectors; ++v) sums[q][v] +=
            weights[q * weight_stride + k] * value[v];
      }
    }
    GPTQ_UNROLL for (int q = 0; q < kQueries; ++q) {
      GPTQ_UNROLL for (int v = 0; v < kVectors; ++v) Store(out + q * out_stride + i + v * kLanes, sums[q][v]);
    }
  }
  for (; i < n; i += kLanes) {
    const int64_t width = n - i < kLanes ? n - i : kLanes;
    Vector sums[kQueries] = {};
    for (int64_t k = 0; k < rows.count; ++k) {
      const typename Type::Stored* row = stored + k * rows.stride + i;
      const Vector value = width == kLanes ? Type::Load(row) : LoadPart<Type>(row, width);
      GPTQ_UNROLL for (int q = 0; q < kQueries; ++q) sums[q] += weights[q * weight_stride + k] * value;
    }
    GPTQ_UNROLL for (int q = 0; q < kQueries; ++q) {
      for (int64_t lane = 0; lane < width; ++lane) out[q * out_stride + i + lane] = sums[q][lane];
    }
  }
}

template <typename Type>
void SumValues(const float* weights, int64_t weight_stride, int64_t count, const StoredRows& rows, float* out,
               int64_t out_stride) {
  int64_t q = 0;
  for (; q + 4 <= count; q += 4)
    SumSome<Type, 4>(weights + q * weight_stride, weight_stride, rows, out + q * out_stride, out_stride);
  if (count - q == 3) {
    SumSome<Type, 3>(weights + q * weight_stride, weight_stride, rows, out + q * out_stride, out_stride);
    return;
  }
  for (; q < count; ++q)
    SumSome<Type, 1>(weights + q * weight_stride, weight_stride, rows, out + q * out_stride, out_stride);
}

#undef GPTQ_UNROLL
