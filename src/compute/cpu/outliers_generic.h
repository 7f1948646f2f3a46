// Inputs that are multiplied apart from the integers (packed_kernels.h). Included by
// packed_kernels_generic.h.

// Above it an input is an outlier: not below the greatest, if no input is one or one is not finite.
inline float OutlierLimit(const float* x, int64_t count, float* greatest) {
  Floats most{}, squares[2]{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = LoadFloats(x + i), magnitude = Magnitude(v);
    most = magnitude > most ? magnitude : most;
    squares[i / kLanes % 2] += v * v;
  }
  *greatest = GreatestLane(most);
  return PackedKernels::kOutlier *
         __builtin_sqrtf(SumLanes(squares[0] + squares[1]) / static_cast<float>(count));
}

int64_t TakeOutliers(const float* x, int64_t count, float* rest, Outlier* outliers) {
  float greatest;
  const float limit = OutlierLimit(x, count, &greatest);
  if (!(greatest > limit) || greatest < 1e-15f) return 0;  // squares of less are no float32
  const int64_t most_taken = PackedKernels::MostOutliers(count);
  int64_t taken = 0;
  for (int64_t unit = 0; unit < count; unit += kUnitColumns) {
    Floats most{};
    for (int64_t i = unit; i < unit + kUnitColumns; i += kLanes) {
      const Floats v = LoadFloats(x + i), magnitude = Magnitude(v);
      most = magnitude > most ? magnitude : most;
      *reinterpret_cast<Floats*>(rest + i) = v;
    }
    if (!(GreatestLane(most) > limit)) continue;
    for (int64_t i = unit; i < unit + kUnitColumns && taken < most_taken; ++i) {
      if (!(rest[i] > limit || -rest[i] > limit)) continue;
      outliers[taken++] = {static_cast<int32_t>(i), rest[i]};
      rest[i] = 0;
    }
  }
  return taken;
}

// The codes of a column, in the lanes of a part of its unit's lines.
template <int kBits>
inline Ints ReadCodes(const uint8_t* lines, const OutlierColumn& column) {
  if constexpr (kBits == 3) {
    const Ints line = column.vector < 6 ? LoadInts(lines + column.vector / 2 * 64) : GatherSpareBits(lines);
    return (line >> (column.shift + column.vector % 2 * 4)) & 7;
  }
  Ints codes{};
  int position = 0;
  GPTQ_UNROLL for (const int width : PlanesOf(kBits)) {
    const int bit = column.vector * width;
    const Ints line = LoadInts(lines + (position + bit / 8) * 64);
    codes |= ((line >> (column.shift + bit % 8)) & ((1 << width) - 1)) << position;
    position += width;
  }
  return codes;
}

// The weights of a column: [kParts] of a tile.
template <int kBits>
inline void ReadColumn(const WeightTile& tile, int32_t zero, const OutlierColumn& column, Floats* weights) {
  GPTQ_UNROLL for (int part = 0; part < kParts; ++part) {
    const GroupScales scales(tile, column.group, part * kLanes);
    const Ints codes =
        ReadCodes<kBits>(tile.codes + column.unit * (kBits * 64) + part * (kLanes * 4), column);
    const Ints zeros = tile.zeros != nullptr ? LoadBytes(tile.zeros + scales.index) : SplatInt(zero);
    weights[part] = __builtin_convertvector(codes - zeros, Floats) * scales.scale;
    if (scales.has_offset) weights[part] += scales.offset;
  }
}

template <int kBits>
void AddColumns(const WeightTile* tiles, int32_t zero, const Outliers& outliers, float* out) {
  const Outlier* outlier = outliers.values;
  for (int64_t c = 0; c < outliers.column_count; ++c) {
    const OutlierColumn& column = outliers.columns[c];
    Floats weights[kTiles * kParts];
    GPTQ_UNROLL for (int t = 0; t < kTiles; ++t)
        ReadColumn<kBits>(tiles[t], zero, column, weights + t * kParts);
    for (int32_t i = 0; i < column.count; ++i, ++outlier) {
      auto* total = reinterpret_cast<Floats*>(out + outlier->index * (kTiles * 16));
      GPTQ_UNROLL for (int v = 0; v < kTiles * kParts; ++v) total[v] += weights[v] * outlier->value;
    }
  }
}

void AddOutliers(const WeightTile* tiles, const InputForm& form, const Outliers& outliers, float* out) {
  constexpr decltype(&AddColumns<2>) kAdd[] = {AddColumns<2>, AddColumns<3>, AddColumns<4>, AddColumns<5>,
                                               AddColumns<6>, AddColumns<7>, AddColumns<8>};
  kAdd[form.bits - 2](tiles, form.zero, outliers, out);
}
