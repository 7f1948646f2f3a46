// The arithmetic of tile_kernels.h, written once on vectors of kLanes floats. Included by one file per
// instruction set, inside an anonymous namespace, after kLanes is defined. (No include guard: this is a text
// to be compiled several times. Standard headers come with the including file.)

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef int32_t IntVector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
constexpr int64_t kVectors = kTileRows / kLanes;

// One value for each row of a tile.
struct Lane {
  Vector v[kVectors];
};

inline Vector LoadVector(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void StoreVector(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

inline Lane LoadLane(const float* p) {
  Lane lane;
  for (int64_t i = 0; i < kVectors; ++i) lane.v[i] = LoadVector(p + i * kLanes);
  return lane;
}

inline void StoreLane(float* p, const Lane& lane) {
  for (int64_t i = 0; i < kVectors; ++i) StoreVector(p + i * kLanes, lane.v[i]);
}

// start - sum over i of factors[i] * rows[i]
inline Lane Subtract(Lane start, int64_t count, const float* factors, const float* rows) {
  for (int64_t i = 0; i < count; ++i) {
    const float factor = factors[i];
    for (int64_t k = 0; k < kVectors; ++k)
      start.v[k] -= factor * LoadVector(rows + i * kTileRows + k * kLanes);
  }
  return start;
}

// Value and code of the nearest grid point. See Steps in grid.cpp: clamped in units of the scale, then
// rounded half to even by adding and subtracting 1.5 * 2^23.
struct UniformRounding {
  float maximum_code;
  static Vector Round(Vector x) {
    const Vector magic = Vector{} + 12582912.0f;
    return (x + magic) - magic;
  }
  Vector operator()(Vector w, Vector scale, Vector zero, Vector* code) const {
    const Vector low = -zero, high = maximum_code - zero;
    Vector steps = w / scale;
    steps = steps > low ? steps : low;  // in this order NaN becomes the lowest code
    steps = steps < high ? steps : high;
    steps = Round(steps);
    *code = steps + zero;
    return scale * steps;
  }
};

struct TernaryRounding {
  Vector operator()(Vector w, Vector scale, Vector zero, Vector* code) const {
    const IntVector high = w > scale * 0.5f, low = w < zero * 0.5f;
    const Vector none{};
    *code = high ? none + 2.0f : low ? none : none + 1.0f;
    return high ? scale : low ? zero : none;
  }
};

struct LineRounding {
  float maximum_code, middle;
  Vector operator()(Vector w, Vector scale, Vector minimum, Vector* code) const {
    const Vector low = Vector{} - middle, high = Vector{} + (maximum_code - middle);
    Vector steps = (w - minimum) / scale;
    steps = steps > low ? steps : low;  // NaN, of scale 0, becomes the lowest code, too
    steps = steps < high ? steps : high;
    steps = UniformRounding::Round(steps);
    *code = steps + middle;
    return scale * steps + minimum;
  }
};

// body(rounding) with the rounding of the grids' kind.
template <typename Body>
inline void WithRounding(const RowGrids& grids, const Body& body) {
  switch (grids.kind) {
    case GridKind::kUniform:
      return body(UniformRounding{grids.maximum_code});
    case GridKind::kTernary:
      return body(TernaryRounding{});
    case GridKind::kLine:
      return body(LineRounding{grids.maximum_code, grids.middle});
  }
}

template <typename Rounding>
inline Lane RoundLane(const Rounding& rounding, const Lane& w, const RowGrids& grids, int64_t column,
                      Lane* codes) {
  const int64_t offset = grids.groups == nullptr ? 0 : grids.groups[column] * kTileRows;
  Lane q;
  for (int64_t k = 0; k < kVectors; ++k) {
    q.v[k] = rounding(w.v[k], LoadVector(grids.scales + offset + k * kLanes),
                      LoadVector(grids.zeros + offset + k * kLanes), &codes->v[k]);
  }
  return q;
}

inline void StoreCodes(uint8_t* out, const Lane& codes) {
  float values[kTileRows];
  StoreLane(values, codes);
  for (int64_t r = 0; r < kTileRows; ++r) out[r] = static_cast<uint8_t>(static_cast<int32_t>(values[r]));
}

template <bool kStore, typename Rounding>
inline void Loop(const Rounding& rounding, int64_t count, const float* triangle, const RowGrids& grids,
                 const float* weights, float* values, uint8_t* codes, float* errors, float* loss) {
  Lane total = LoadLane(loss);
  for (int64_t j = 0; j < count; ++j) {
    const float* factors = triangle + j * count;
    const Lane w = Subtract(LoadLane(weights + j * kTileRows), j, factors, errors);
    Lane code, error;
    const Lane q = RoundLane(rounding, w, grids, j, &code);
    for (int64_t k = 0; k < kVectors; ++k) {
      error.v[k] = (w.v[k] - q.v[k]) / factors[j];
      total.v[k] += error.v[k] * error.v[k];
    }
    StoreLane(errors + j * kTileRows, error);
    if (kStore) {
      StoreLane(values + j * kTileRows, q);
      StoreCodes(codes + j * kTileRows, code);
    }
  }
  StoreLane(loss, total);
}

void Solve(int64_t count, const float* triangle, const RowGrids& grids, float* values, uint8_t* codes,
           float* errors, float* loss) {
  WithRounding(grids, [&](const auto& rounding) {
    Loop<true>(rounding, count, triangle, grids, values, values, codes, errors, loss);
  });
}

void TryGrids(int64_t count, const float* triangle, const RowGrids& grids, const float* values, float* errors,
              float* loss) {
  StoreLane(loss, Lane{});
  Loop<false>(UniformRounding{grids.maximum_code}, count, triangle, grids, values, nullptr, nullptr, errors,
              loss);
}

void TryGridsApart(int64_t count, const float* pivots, const RowGrids& grids, const float* values,
                   float* loss) {
  const UniformRounding rounding{grids.maximum_code};
  Lane total{}, code;
  for (int64_t j = 0; j < count; ++j) {
    const Lane w = LoadLane(values + j * kTileRows);
    const Lane q = RoundLane(rounding, w, grids, j, &code);
    for (int64_t k = 0; k < kVectors; ++k) {
      const Vector error = (w.v[k] - q.v[k]) / pivots[j];
      total.v[k] += error * error;
    }
  }
  StoreLane(loss, total);
}

template <typename Rounding>
inline void DescendWith(const Rounding& rounding, int64_t count, const float* hessian, const RowGrids& grids,
                        const float* gradients, float* values, uint8_t* codes, float* changes) {
  for (int64_t j = 0; j < count; ++j) {
    const float* row = hessian + j * count;
    const Lane gradient = Subtract(LoadLane(gradients + j * kTileRows), j, row, changes);
    const Lane old = LoadLane(values + j * kTileRows);
    Lane wanted, code, change;
    for (int64_t k = 0; k < kVectors; ++k) wanted.v[k] = old.v[k] + gradient.v[k] / row[j];
    const Lane q = RoundLane(rounding, wanted, grids, j, &code);
    for (int64_t k = 0; k < kVectors; ++k) change.v[k] = q.v[k] - old.v[k];
    StoreLane(values + j * kTileRows, q);
    StoreLane(changes + j * kTileRows, change);
    StoreCodes(codes + j * kTileRows, code);
  }
}

void Descend(int64_t count, const float* hessian, const RowGrids& grids, const float* gradients,
             float* values, uint8_t* codes, float* changes) {
  WithRounding(grids, [&](const auto& rounding) {
    DescendWith(rounding, count, hessian, grids, gradients, values, codes, changes);
  });
}

void Quadratic(int64_t count, const float* hessian, const float* directions, float* out) {
  Lane total{};
  for (int64_t j = 0; j < count; ++j) {
    const float* row = hessian + j * count;
    const Lane before = Subtract(Lane{}, j, row, directions);
    const Lane d = LoadLane(directions + j * kTileRows);
    for (int64_t k = 0; k < kVectors; ++k) total.v[k] += d.v[k] * (row[j] * d.v[k] - 2.0f * before.v[k]);
  }
  StoreLane(out, total);
}

constexpr TileKernels MakeKernels(const char* isa) {
  return {isa, Solve, TryGrids, TryGridsApart, Descend, Quadratic};
}
