// The arithmetic of vector_kernels.h, written once on vectors of kLanes floats. Included by one file per
// instruction set, inside an anonymous namespace, after kLanes, LoadHalves (of float16) and LoadBytes, kLanes
// of them, are defined: no symbol of it may be shared between them. (No include guard: this is a text to be
// compiled several times. Standard headers come with the including file.)

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef int32_t IntVector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Vector Load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void Store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
inline Vector Splat(float value) { return value - Vector{}; }  // adding 0 would turn -0 into 0, and cost

#include "compute/cpu/product_kernels_generic.h"
#include "compute/cpu/row_kernels_generic.h"

inline float Sum(Vector v) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

// exp(x) to 1.5 ulp: x = k ln 2 + r, |r| <= ln 2 / 2, and the polynomial of degree 6 with the least relative
// error there (Remez). Below -87 the result is 0; above 88 it saturates near the largest float.
inline Vector Exp(Vector x) {
  const Vector low = Splat(-87.0f), high = Splat(88.0f);
  const IntVector underflow = x < low;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const Vector shifter = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vector shifted = x * 1.44269504088896341f + shifter;
  const Vector k = shifted - shifter;
  const Vector r = (x - k * 0.693145751953125f) - k * 1.428606765330187e-6f;
  Vector p = Splat(1.40614226e-3f);
  p = p * r + 8.37905891e-3f;
  p = p * r + 4.16647717e-2f;
  p = p * r + 1.66663647e-1f;
  p = p * r + 0.50000006f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const IntVector exponent = (reinterpret_cast<const IntVector&>(shifted) << 23) + (127 << 23);
  const Vector power = reinterpret_cast<const Vector&>(exponent);
  const Vector result = p * power;
  return underflow ? Vector{} : result;
}

float Dot(const float* a, const float* b, int64_t n) {
  Vector sum0{}, sum1{}, sum2{}, sum3{};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    sum0 += Load(a + i) * Load(b + i);
    sum1 += Load(a + i + kLanes) * Load(b + i + kLanes);
    sum2 += Load(a + i + 2 * kLanes) * Load(b + i + 2 * kLanes);
    sum3 += Load(a + i + 3 * kLanes) * Load(b + i + 3 * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) sum0 += Load(a + i) * Load(b + i);
  float total = Sum((sum0 + sum1) + (sum2 + sum3));
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

void Add(float* x, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, Load(x + i) + Load(y + i));
  for (; i < n; ++i) x[i] += y[i];
}

void Scale(float* x, float factor, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, Load(x + i) * factor);
  for (; i < n; ++i) x[i] *= factor;
}

void AddScaled(float* x, float factor, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, Load(x + i) + factor * Load(y + i));
  for (; i < n; ++i) x[i] += factor * y[i];
}

void Multiply(float* x, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, Load(x + i) * Load(y + i));
  for (; i < n; ++i) x[i] *= y[i];
}

float Maximum(const float* x, int64_t n) {
  float best = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    Vector m = Load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Vector v = Load(x + i);
      m = v > m ? v : m;
    }
    for (int lane = 0; lane < kLanes; ++lane) best = m[lane] > best ? m[lane] : best;
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

inline float ExpOne(float x) { return Exp(Splat(x))[0]; }

float ExpSum(float* x, float maximum, int64_t n) {
  Vector sum{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vector e = Exp(Load(x + i) - maximum);
    Store(x + i, e);
    sum += e;
  }
  float total = Sum(sum);
  for (; i < n; ++i) total += x[i] = ExpOne(x[i] - maximum);
  return total;
}

// A vocabulary of small terms beside one large one: float32 partial sums would lose them.
struct WideSum {
  typedef float Half __attribute__((vector_size(kLanes / 2 * sizeof(float)), aligned(4), may_alias));
  typedef double WideHalf __attribute__((vector_size(kLanes / 2 * sizeof(double))));

  inline void Add(Vector v) {
    const Half* halves = reinterpret_cast<const Half*>(&v);
    low += __builtin_convertvector(halves[0], WideHalf);
    high += __builtin_convertvector(halves[1], WideHalf);
  }
  inline double Total() const {
    double total = 0;
    for (int lane = 0; lane < kLanes / 2; ++lane) total += low[lane] + high[lane];
    return total;
  }

  WideHalf low{}, high{};
};

double ExpSumOf(const float* x, float maximum, int64_t n) {
  WideSum sum;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum.Add(Exp(Load(x + i) - maximum));
  double total = sum.Total();
  for (; i < n; ++i) total += ExpOne(x[i] - maximum);
  return total;
}

// p t - p + q with t = log(p / q): the terms p log(p / q) would be of both signs and cancel where p and q are
// alike; these have the same sum, as those of p and of q are equal, and none is negative. Where t is small,
// p - q is p (1 - exp(-t)) and the series of exp leaves p t^2 (1/2 - t/6 + t^2/24 ...).
inline Vector DivergenceTerm(Vector a, Vector b, const SoftmaxRow& p_row, const SoftmaxRow& q_row,
                             float log_ratio) {
  const Vector p = Exp(a - p_row.maximum) * p_row.factor;
  const Vector q = Exp(b - q_row.maximum) * q_row.factor;
  const Vector t = (a - b) + log_ratio;
  Vector series = Splat(1.0f / 40320);
  series = series * -t + 1.0f / 5040;
  series = series * -t + 1.0f / 720;
  series = series * -t + 1.0f / 120;
  series = series * -t + 1.0f / 24;
  series = series * -t + 1.0f / 6;
  series = series * -t + 0.5f;
  const IntVector small = (t < Splat(0.5f)) & (t > Splat(-0.5f));
  return small ? p * (t * t * series) : p * (t - 1.0f) + q;
}

double Divergence(const SoftmaxRow& p, const SoftmaxRow& q, float log_ratio, int64_t n) {
  const float *a = p.logits, *b = q.logits;
  WideSum sum;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum.Add(DivergenceTerm(Load(a + i), Load(b + i), p, q, log_ratio));
  double total = sum.Total();
  for (; i < n; ++i) total += DivergenceTerm(Splat(a[i]), Splat(b[i]), p, q, log_ratio)[0];
  return total;
}

void RmsNorm(const float* x, const float* weight, float epsilon, float* y, int64_t n) {
  const float factor = 1.0f / __builtin_sqrtf(Dot(x, x, n) / static_cast<float>(n) + epsilon);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vector v = Load(x + i) * factor;
    Store(y + i, weight == nullptr ? v : v * Load(weight + i));
  }
  for (; i < n; ++i) y[i] = x[i] * factor * (weight == nullptr ? 1.0f : weight[i]);
}

void LayerNorm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n) {
  Vector sum{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum += Load(x + i);
  float total = Sum(sum);
  for (; i < n; ++i) total += x[i];
  const float mean = total / static_cast<float>(n);
  Vector squares{};
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const Vector centred = Load(x + i) - mean;
    squares += centred * centred;
  }
  float variance = Sum(squares);
  for (; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.0f / __builtin_sqrtf(variance / static_cast<float>(n) + epsilon);
  for (i = 0; i < n; ++i) {
    const float v = (x[i] - mean) * factor * (weight == nullptr ? 1.0f : weight[i]);
    y[i] = bias == nullptr ? v : v + bias[i];
  }
}

// 2^x to 3 ulp for x <= 0, and 0 below -126: x = k + r, |r| <= 1/2, and the polynomial of degree 5 with the
// least relative error among those that are exactly 1 at 0, in few and independent steps.
inline Vector Exp2(Vector x) {
  const Vector shifter = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vector shifted = x + shifter;
  const Vector r = x - (shifted - shifter);
  const Vector square = r * r;
  const Vector high = (r * 0.00132647259f + 0.00967151289f) * square + (r * 0.0555073375f + 0.240222421f);
  const Vector power = high * square + (r * 0.693146978f + 1.0f);
  const IntVector scaled =
      reinterpret_cast<const IntVector&>(power) + (reinterpret_cast<const IntVector&>(shifted) << 23);
  const IntVector result = scaled & ~(x < Splat(-126.0f));
  return reinterpret_cast<const Vector&>(result);
}

float SoftmaxColumns(float* scores, int64_t rows, int64_t seen, float* maximum, float* sum,
                     float* correction) {
  for (int64_t row = seen < 0 ? 0 : seen; row < rows; ++row) {
    for (int64_t q = 0; q < kTileColumns && q <= row - seen; ++q)
      scores[row * kTileColumns + q] = -__builtin_inff();
  }
  Vector high[kTileVectors], total[kTileVectors], least = Splat(1.0f);
  for (int j = 0; j < kTileVectors; ++j) {
    high[j] = Load(maximum + j * kLanes);
    total[j] = Vector{};
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int j = 0; j < kTileVectors; ++j) {
      const Vector score = Load(scores + row * kTileColumns + j * kLanes);
      high[j] = score > high[j] ? score : high[j];
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int j = 0; j < kTileVectors; ++j) {
      float* const score = scores + row * kTileColumns + j * kLanes;
      const Vector power = Exp2(Load(score) - high[j]);
      Store(score, power);
      total[j] += power;
    }
  }
  for (int j = 0; j < kTileVectors; ++j) {
    const Vector factor = Exp2(Load(maximum + j * kLanes) - high[j]);
    least = factor < least ? factor : least;
    Store(correction + j * kLanes, factor);
    Store(maximum + j * kLanes, high[j]);
    Store(sum + j * kLanes, Load(sum + j * kLanes) * factor + total[j]);
  }
  float result = 1.0f;
  for (int lane = 0; lane < kLanes; ++lane) result = least[lane] < result ? least[lane] : result;
  return result;
}

void ScaleColumns(float* x, int64_t rows, const float* factor) {
  for (int64_t row = 0; row < rows; ++row) Multiply(x + row * kTileColumns, factor, kTileColumns);
}

// Only exp of negative numbers: it vanishes where the other sign's would saturate and then be multiplied by
// x.
inline Vector Sigmoid(Vector x) {
  const Vector e = Exp(x < Vector{} ? x : -x);
  return (x < Vector{} ? e : Splat(1.0f)) / (1.0f + e);
}
inline Vector Silu(Vector x) { return x * Sigmoid(x); }
inline Vector Relu(Vector x) { return x > Vector{} ? x : Vector{}; }
inline Vector ReluSquared(Vector x) { return Relu(x) * Relu(x); }
// 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
inline Vector GeluTanh(Vector x) { return x * Sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x)); }

template <typename Function>
inline void Map(Function function, float* x, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, function(Load(x + i)));
  for (; i < n; ++i) x[i] = function(Splat(x[i]))[0];
}

void Activate(ActivationKind kind, float* x, int64_t n) {
  switch (kind) {
    case ActivationKind::kSilu:
      return Map(Silu, x, n);
    case ActivationKind::kRelu:
      return Map(Relu, x, n);
    case ActivationKind::kReluSquared:
      return Map(ReluSquared, x, n);
    case ActivationKind::kGeluTanh:
      return Map(GeluTanh, x, n);
    case ActivationKind::kGelu:
      for (int64_t i = 0; i < n; ++i)
        x[i] = 0.5f * x[i] * (1.0f + __builtin_erff(x[i] * 0.70710678118654752f));
      return;
  }
}

void Rotate(float* x, const float* cosine, const float* sine, int64_t pairs) {
  float* y = x + pairs;
  int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    const Vector a = Load(x + i), b = Load(y + i), c = Load(cosine + i), s = Load(sine + i);
    Store(x + i, a * c - b * s);
    Store(y + i, b * c + a * s);
  }
  for (; i < pairs; ++i) {
    const float a = x[i], b = y[i];
    x[i] = a * cosine[i] - b * sine[i];
    y[i] = b * cosine[i] + a * sine[i];
  }
}

void RotateInterleaved(float* x, const float* cosine, const float* sine, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosine[i] - b * sine[i];
    x[2 * i + 1] = b * cosine[i] + a * sine[i];
  }
}

// tanh(u) = 1 - 2 / (1 + exp(2 u)) loses small u; there its series, to u^7, is exact to round-off.
inline Vector Tanh(Vector u) {
  const Vector square = u * u;
  const Vector series = u * (1.0f + square * (-1.0f / 3 + square * (2.0f / 15 + square * (-17.0f / 315))));
  const IntVector small = square < Splat(0.0025f);
  return small ? series : 1.0f - 2.0f / (1.0f + Exp(2.0f * u));
}

void Softcap(float* x, float cap, int64_t n) {
  const float inverse = 1.0f / cap;
  Map([=](Vector v) { return Tanh(v * inverse) * cap; }, x, n);
}

// Every chain starts elsewhere: equal ones would be merged into one by the compiler. More than the latency
// times the throughput of any processor (4 cycles, 2 a cycle), few enough to stay in registers.
double MultiplyAdds(float* values, int64_t steps) {
  constexpr int kChains = 12;
  Vector sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Splat(values[0] + static_cast<float>(c));
  const Vector factor = Splat(values[1]), term = Splat(values[2]);
  for (int64_t step = 0; step < steps; ++step) {
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * factor + term;
  }
  Vector total{};
  for (int c = 0; c < kChains; ++c) total += sums[c];
  values[0] = Sum(total);
  return 2.0 * kChains * kLanes * static_cast<double>(steps);
}

constexpr VectorKernels MakeKernels(std::string_view isa, bool (*supported)()) {
  return {isa,
          supported,
          Dot,
          DotStored<Halves>,
          DotStored<BFloats>,
          {ScoreKeys<Floats>, SumValues<Floats>},
          {ScoreKeys<Halves>, SumValues<Halves>},
          {ScoreKeys<Bytes>, SumValues<Bytes>},
          Add,
          Scale,
          AddScaled,
          Maximum,
          ExpSum,
          ExpSumOf,
          Divergence,
          RmsNorm,
          LayerNorm,
          Activate,
          Multiply,
          Rotate,
          RotateInterleaved,
          Softcap,
          kProductKernels,
          SoftmaxColumns,
          ScaleColumns,
          MultiplyAdds};
}
