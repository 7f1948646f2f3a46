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

template <typename Type>
void ScoreKeys(const float* query, const void* keys, int64_t stride, int64_t count, int64_t n, float scale,
               float* scores) {
  constexpr int kTogether = 4;
  const auto* stored = static_cast<const typename Type::Stored*>(keys);
  for (int64_t first = 0; first < count; first += kTogether) {
    const typename Type::Stored* rows[kTogether];
    GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) rows[k] =
        stored + (first + k < count ? first + k : first) * stride;
    Vector sums[kTogether] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Vector q = Load(query + i);
      GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) sums[k] += Type::Load(rows[k] + i) * q;
    }
    if (i < n) {
      const Vector q = LoadPart<Floats>(query + i, n - i);
      GPTQ_UNROLL for (int k = 0; k < kTogether; ++k) sums[k] += LoadPart<Type>(rows[k] + i, n - i) * q;
    }
    for (int k = 0; k < kTogether && first + k < count; ++k) scores[first + k] = scale * QuickSum(sums[k]);
  }
}

template <typename Type>
void SumValues(const float* weights, const void* values, int64_t stride, int64_t count, int64_t n,
               float* out) {
  const auto* stored = static_cast<const typename Type::Stored*>(values);
  constexpr int kVectors = kLanes == 4 ? 8 : 64 / kLanes;
  int64_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
    Vector sums[kVectors] = {};
    for (int64_t k = 0; k < count; ++k) {
      const typename Type::Stored* row = stored + k * stride + i;
      GPTQ_UNROLL for (int v = 0; v < kVectors; ++v) sums[v] += weights[k] * Type::Load(row + v * kLanes);
    }
    GPTQ_UNROLL for (int v = 0; v < kVectors; ++v) Store(out + i + v * kLanes, sums[v]);
  }
  for (; i < n; i += kLanes) {
    const int64_t width = n - i < kLanes ? n - i : kLanes;
    Vector sum{};
    for (int64_t k = 0; k < count; ++k) {
      const typename Type::Stored* row = stored + k * stride + i;
      sum += weights[k] * (width == kLanes ? Type::Load(row) : LoadPart<Type>(row, width));
    }
    for (int64_t lane = 0; lane < width; ++lane) out[i + lane] = sum[lane];
  }
}

#undef GPTQ_UNROLL
