#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "compute/cpu/packed_kernels.h"

namespace gptq {

extern const PackedKernels* const kPackedKernels_avx512vnni;

namespace {

#include "compute/cpu/avx512_vectors.h"
#include "compute/cpu/tile_codes_generic.h"

// A matrix register has 16 rows of 64 bytes at most. As codes it holds a step of one or two units of a weight
// tile, a code vector in each row; as inputs one plane of as many columns of 16 rows. A step never reaches
// into the next block.
constexpr int64_t kGroupRows = PackedKernels::kGroupRows, kVectorBytes = kLineBytes;
constexpr int64_t kUnitBytes = kUnitVectors * kVectorBytes;  // of codes in a byte each

int64_t StepUnits(const ColumnBlock* blocks, int64_t count) {
  for (int64_t b = 0; b < count; ++b) {
    if (blocks[b].units % 2 != 0) return 1;
  }
  return 2;
}

// Registers 0 to 3 are sums, 4 and 5 inputs, 6 and 7 codes.
struct alignas(64) Configuration {
  explicit Configuration(int64_t step_units) {
    for (const int inputs : {4, 5}) row_bytes[inputs] = static_cast<uint16_t>(step_units * kUnitColumns);
    for (const int codes : {6, 7}) rows[codes] = static_cast<uint8_t>(step_units * kUnitVectors);
  }
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Codes less their zeros, signed bytes, of a block of kTiles tiles.
struct alignas(64) SignedCodes {
  int8_t bytes[kTiles][kBlockUnits * kUnitBytes];
};

// The sums of a block: of kGroupRows rows and kTiles tiles.
template <int kPlanes>
struct alignas(64) Sums {
  inline Ints Total(int t, int64_t row) const {
    if constexpr (kPlanes == 1) return LoadInts(sums[t][0][row]);
    return (LoadInts(sums[t][0][row]) << 8) + LoadInts(sums[t][kPlanes - 1][row]);
  }
  int32_t sums[kTiles][kPlanes][kGroupRows][kLanes];
};

template <int kBits>
void UnpackBlock(const InputForm& form, const WeightTile* tiles, const ColumnBlock& block, SignedCodes& out) {
  for (int t = 0; t < kTiles; ++t) {
    Ints zeros = SplatInt(tiles[t].offsets != nullptr ? 0 : form.zero);
    if (tiles[t].zeros != nullptr) zeros = LoadBytes(tiles[t].zeros + block.group * kLanes);
    const auto each_byte = (__m512i)(zeros * 0x01010101);
    for (int64_t u = 0; u < block.units; ++u) {
      const uint8_t* unit = tiles[t].codes + (block.first_unit + u) * (kBits * kLineBytes);
      int8_t* to = out.bytes[t] + u * kUnitBytes;
      UnpackUnit<kBits>(unit, [&](int j, Ints vector) {
        _mm512_store_si512(to + j * kVectorBytes, _mm512_sub_epi8((__m512i)vector, each_byte));
      });
    }
  }
}

constexpr decltype(&UnpackBlock<2>) kUnpack[] = {UnpackBlock<2>, UnpackBlock<3>, UnpackBlock<4>,
                                                 UnpackBlock<5>, UnpackBlock<6>, UnpackBlock<7>,
                                                 UnpackBlock<8>};

// The sums of a group of rows, in registers; `inputs`: where their values of the block begin.
template <int kPlanes>
inline void SumBlock(const SignedCodes& codes, const std::byte* inputs, int64_t units, int64_t step_units) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kPlanes == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  const int64_t row_bytes = step_units * kUnitColumns;
  for (int64_t unit = 0; unit < units; unit += step_units) {
    _tile_loadd(6, codes.bytes[0] + unit * kUnitBytes, kVectorBytes);
    _tile_loadd(7, codes.bytes[1] + unit * kUnitBytes, kVectorBytes);
    const std::byte* plane = inputs + unit * kUnitColumns * kGroupRows;
    _tile_loadd(4, plane, row_bytes);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    if constexpr (kPlanes == 2) {
      _tile_loadd(5, plane + units * kUnitColumns * kGroupRows, row_bytes);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  }
}

template <int kPlanes>
inline void StoreSums(Sums<kPlanes>& out) {
  _tile_stored(0, out.sums[0][0], kVectorBytes);
  _tile_stored(1, out.sums[1][0], kVectorBytes);
  if constexpr (kPlanes == 2) {
    _tile_stored(2, out.sums[0][1], kVectorBytes);
    _tile_stored(3, out.sums[1][1], kVectorBytes);
  }
}

// out += the block's sums, scaled: the same operations as for few rows (packed_kernels_generic.h).
template <int kPlanes, bool kOffsets>
inline void FinishRows(const WeightTile* tiles, const PackedInputs& inputs, int64_t block, int64_t first_row,
                       int64_t rows, const Sums<kPlanes>& sums, float* out) {
  const int64_t group = inputs.form.blocks[block].group;
  const GroupScales scales[kTiles] = {{tiles[0], group, 0}, {tiles[1], group, 0}};
  for (int64_t r = 0; r < rows; ++r, out += kTiles * kLanes) {
    const int64_t place = (first_row + r) * inputs.form.block_count + block;
    const float scale = inputs.scales[place];
    GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) {
      auto& total = *reinterpret_cast<Floats*>(out + t * kLanes);
      Floats now = total;
      if constexpr (kOffsets) now += scales[t].offset * inputs.scaled_sums[place];
      now += __builtin_convertvector(sums.Total(t, r), Floats) * (scales[t].scale * scale);
      total = now;
    }
  }
}

template <int kPlanes>
inline void FinishBlock(const WeightTile* tiles, const PackedInputs& inputs, int64_t block, int64_t first_row,
                        int64_t rows, const Sums<kPlanes>& sums, float* out) {
  if (tiles[0].offsets != nullptr)
    return FinishRows<kPlanes, true>(tiles, inputs, block, first_row, rows, sums, out);
  FinishRows<kPlanes, false>(tiles, inputs, block, first_row, rows, sums, out);
}

template <int kPlanes>
void MultiplyTiles(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                   int64_t step_units, float* out) {
  SignedCodes codes;
  Sums<kPlanes> sums;
  const int64_t groups = (rows + kGroupRows - 1) / kGroupRows, group_bytes = kGroupRows * inputs.row_bytes;
  for (int64_t b = 0; b < inputs.form.block_count; ++b) {
    const ColumnBlock& block = inputs.form.blocks[b];
    kUnpack[inputs.form.bits - 2](inputs.form, tiles, block, codes);
    const std::byte* values =
        inputs.values + first_row * inputs.row_bytes + block.first_unit * kUnitColumns * kPlanes * kGroupRows;
    for (int64_t g = 0; g <= groups; ++g) {  // while a group is multiplied, the one before is finished
      if (g < groups) SumBlock<kPlanes>(codes, values + g * group_bytes, block.units, step_units);
      if (g > 0) {
        const int64_t row = (g - 1) * kGroupRows, left = rows - row;
        FinishBlock<kPlanes>(tiles, inputs, b, first_row + row, left < kGroupRows ? left : kGroupRows, sums,
                             out + row * kTiles * kLanes);
      }
      if (g < groups) StoreSums<kPlanes>(sums);
    }
  }
}

void MultiplyMany(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
                  float* out) {
  const int64_t step_units = StepUnits(inputs.form.blocks, inputs.form.block_count);
  const Configuration configuration(step_units);
  _tile_loadconfig(&configuration);
  __builtin_memset(out, 0, static_cast<size_t>(rows * kTiles * kLanes) * sizeof(float));
  if (inputs.form.planes == 1) {
    MultiplyTiles<1>(tiles, inputs, first_row, rows, step_units, out);
  } else {
    MultiplyTiles<2>(tiles, inputs, first_row, rows, step_units, out);
  }
  _tile_release();
}

// The kernels for few rows have a unit's planes word by word in turn; here the block's planes follow each
// other, in each its steps, in each the rows of the group.
void PlaceRow(const InputForm& form, const std::byte* values, int64_t row, std::byte* group) {
  const __m512i order = _mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
  const int64_t step_units = StepUnits(form.blocks, form.block_count), row_bytes = step_units * kUnitColumns;
  for (int64_t b = 0; b < form.block_count; ++b) {
    const int64_t plane_bytes = form.blocks[b].units * kUnitColumns * kGroupRows;
    for (int64_t unit = 0; unit < form.blocks[b].units; ++unit, values += form.planes * kUnitColumns) {
      std::byte* to =
          group + (unit / step_units * kGroupRows + row) * row_bytes + unit % step_units * kUnitColumns;
      if (form.planes == 1) {
        __builtin_memcpy(to, values, kUnitColumns);
        continue;
      }
      const __m512i both = _mm512_maskz_permutexvar_epi32(0xffff, order, _mm512_loadu_si512(values));
      alignas(64) std::byte separate[2 * kUnitColumns];
      _mm512_store_si512(separate, both);
      __builtin_memcpy(to, separate, kUnitColumns);
      __builtin_memcpy(to + plane_bytes, separate + kUnitColumns, kUnitColumns);
    }
    group += form.planes * plane_bytes;
  }
}

int64_t TakeOutliers(const float* x, int64_t count, float* rest, Outlier* outliers) {
  return kPackedKernels_avx512vnni->take_outliers(x, count, rest, outliers);
}

void PackInputs(const InputForm& form, const float* x, std::byte* values, float* scales, int32_t* sums,
                float* scaled_sums) {
  kPackedKernels_avx512vnni->pack_inputs(form, x, values, scales, sums, scaled_sums);
}

void Multiply(const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
              float* out) {
  kPackedKernels_avx512vnni->multiply(tiles, inputs, first_row, rows, out);
}

void AddOutliers(const WeightTile* tiles, const InputForm& form, const Outliers& outliers, float* out) {
  kPackedKernels_avx512vnni->add_outliers(tiles, form, outliers, out);
}

// The processor has them, and the system lets this process use their large state (Linux, arch_prctl).
bool Supported() {
  if (!kPackedKernels_avx512vnni->supported()) return false;
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kTileBit = 1u << 24, kInt8Bit = 1u << 25;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTileBit) == 0 || (d & kInt8Bit) == 0)
    return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

constexpr PackedKernels kKernels = {"amx",    Supported,   INT64_MAX,    TakeOutliers, PackInputs,
                                    Multiply, AddOutliers, MultiplyMany, PlaceRow};

}  // namespace

extern const PackedKernels* const kPackedKernels_amx;
const PackedKernels* const kPackedKernels_amx = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
