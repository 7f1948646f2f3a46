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

constexpr int kLanes = 16;
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(4), may_alias));

inline __m512 LoadHalves(const uint16_t* p) {
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline Ints LoadBytes(const uint8_t* p) {
  return (Ints)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

#include "compute/cpu/tile_codes_generic.h"

// A matrix register: 16 rows of 64 bytes. As codes it holds two units of a weight tile, a code vector in each
// row; as inputs one plane of as many columns of 16 rows.
constexpr int64_t kRegisterRows = 16, kRegisterBytes = 1024, kStepUnits = 2;
constexpr int64_t kMostSteps = kBlockUnits / kStepUnits;
constexpr int64_t kUnitBytes = kUnitVectors * kLineBytes;  // of codes in a byte each

struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Codes less their zeros, signed bytes, of a block of kTiles tiles.
struct alignas(64) SignedCodes {
  int8_t bytes[kTiles][kMostSteps][kRegisterBytes];
};

// The sums of a block: of kRegisterRows rows and kTiles tiles.
template <int kPlanes>
struct alignas(64) Sums {
  inline Ints Total(int t, int64_t row) const {
    if constexpr (kPlanes == 1) return LoadInts(sums[t][0][row]);
    return (LoadInts(sums[t][0][row]) << 8) + LoadInts(sums[t][kPlanes - 1][row]);
  }
  int32_t sums[kTiles][kPlanes][kRegisterRows][kLanes];
};

template <int kBits, int j>
inline void StoreSigned(const uint8_t* unit, __m512i zeros, int8_t* out) {
  const auto codes = (__m512i)Unpack<kBits, j, false>(unit);
  _mm512_store_si512(out + j * kLineBytes, _mm512_sub_epi8(codes, zeros));
}

template <int kBits>
inline void UnpackUnit(const uint8_t* unit, __m512i zeros, int8_t* out) {
  StoreSigned<kBits, 0>(unit, zeros, out);
  StoreSigned<kBits, 1>(unit, zeros, out);
  StoreSigned<kBits, 2>(unit, zeros, out);
  StoreSigned<kBits, 3>(unit, zeros, out);
  StoreSigned<kBits, 4>(unit, zeros, out);
  StoreSigned<kBits, 5>(unit, zeros, out);
  StoreSigned<kBits, 6>(unit, zeros, out);
  StoreSigned<kBits, 7>(unit, zeros, out);
}

template <int kBits>
void UnpackBlock(const WeightTile* tiles, const ColumnBlock& block, SignedCodes& out) {
  for (int t = 0; t < kTiles; ++t) {
    const Ints zeros = tiles[t].zeros != nullptr ? LoadBytes(tiles[t].zeros + block.group * kLanes)
                                                 : SplatInt(tiles[t].zero);
    const auto each_byte = (__m512i)(zeros * 0x01010101);
    int8_t* to = out.bytes[t][0];
    for (int64_t unit = 0; unit < block.units; ++unit, to += kUnitBytes)
      UnpackUnit<kBits>(tiles[t].codes + (block.first_unit + unit) * (kBits * kLineBytes), each_byte, to);
    if (block.units % kStepUnits != 0) __builtin_memset(to, 0, kUnitBytes);  // meets inputs of others
  }
}

void Unpack(int bits, const WeightTile* tiles, const ColumnBlock& block, SignedCodes& out) {
  switch (bits) {
    case 2:
      return UnpackBlock<2>(tiles, block, out);
    case 3:
      return UnpackBlock<3>(tiles, block, out);
    case 4:
      return UnpackBlock<4>(tiles, block, out);
    case 5:
      return UnpackBlock<5>(tiles, block, out);
    case 6:
      return UnpackBlock<6>(tiles, block, out);
    case 7:
      return UnpackBlock<7>(tiles, block, out);
    case 8:
      return UnpackBlock<8>(tiles, block, out);
  }
}

// Sums of kRegisterRows rows whose bytes of the block begin at `inputs`, plane after plane.
template <int kPlanes>
inline void MultiplyBlock(const SignedCodes& codes, const std::byte* inputs, int64_t row_bytes, int64_t units,
                          Sums<kPlanes>& out) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kPlanes == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t step = 0; step * kStepUnits < units; ++step, inputs += kLineBytes) {
    _tile_loadd(6, codes.bytes[0][step], kLineBytes);
    _tile_loadd(7, codes.bytes[1][step], kLineBytes);
    _tile_loadd(4, inputs, row_bytes);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    if constexpr (kPlanes == 2) {
      _tile_loadd(5, inputs + units * kUnitColumns, row_bytes);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  }
  _tile_stored(0, out.sums[0][0], kLineBytes);
  _tile_stored(1, out.sums[1][0], kLineBytes);
  if constexpr (kPlanes == 2) {
    _tile_stored(2, out.sums[0][1], kLineBytes);
    _tile_stored(3, out.sums[1][1], kLineBytes);
  }
}

// out += the block's sums, scaled: the same operations as for few rows (packed_kernels_generic.h).
template <int kPlanes>
inline void FinishBlock(const WeightTile* tiles, const PackedInputs& inputs, int64_t block, int64_t first_row,
                        int64_t rows, const Sums<kPlanes>& sums, float* out) {
  const int64_t index = inputs.blocks[block].group * kLanes;
  Floats scales[kTiles], offsets[kTiles];
  for (int t = 0; t < kTiles; ++t) {
    scales[t] = LoadScales(tiles[t].scales, tiles[t].half, index);
    if (tiles[t].offsets != nullptr) offsets[t] = LoadScales(tiles[t].offsets, tiles[t].half, index);
  }
  for (int64_t r = 0; r < rows; ++r, out += kTiles * kLanes) {
    const int64_t place = (first_row + r) * inputs.block_count + block;
    const float scale = inputs.scales[place];
    GPTQ_UNROLL for (int t = 0; t < kTiles; ++t) {
      auto& total = *reinterpret_cast<Floats*>(out + t * kLanes);
      total += __builtin_convertvector(sums.Total(t, r), Floats) * (scales[t] * scale);
      if (tiles[t].offsets != nullptr) total += offsets[t] * (static_cast<float>(inputs.sums[place]) * scale);
    }
  }
}

template <int kPlanes>
void MultiplyTiles(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row,
                   int64_t rows, float* out) {
  SignedCodes codes;
  Sums<kPlanes> sums[2];  // the one is filled while the other is read
  const int64_t groups = (rows + kRegisterRows - 1) / kRegisterRows;
  for (int64_t b = 0; b < inputs.block_count; ++b) {
    const ColumnBlock& block = inputs.blocks[b];
    Unpack(bits, tiles, block, codes);
    const std::byte* values =
        inputs.values + first_row * inputs.row_bytes + block.first_unit * kUnitColumns * kPlanes;
    for (int64_t g = 0; g <= groups; ++g) {
      if (g < groups) {
        MultiplyBlock<kPlanes>(codes, values + g * kRegisterRows * inputs.row_bytes, inputs.row_bytes,
                               block.units, sums[g % 2]);
      }
      if (g == 0) continue;
      const int64_t row = (g - 1) * kRegisterRows,
                    count = rows - row < kRegisterRows ? rows - row : kRegisterRows;
      FinishBlock<kPlanes>(tiles, inputs, b, first_row + row, count, sums[(g - 1) % 2],
                           out + row * kTiles * kLanes);
    }
  }
}

void MultiplyMany(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row,
                  int64_t rows, float* out) {
  const Configuration configuration;
  _tile_loadconfig(&configuration);
  __builtin_memset(out, 0, static_cast<size_t>(rows * kTiles * kLanes) * sizeof(float));
  if (inputs.planes == 1) {
    MultiplyTiles<1>(bits, tiles, inputs, first_row, rows, out);
  } else {
    MultiplyTiles<2>(bits, tiles, inputs, first_row, rows, out);
  }
  _tile_release();
}

// A block's planes one after the other, where the kernels for few rows have them word by word in turn.
void SeparatePlanes(const ColumnBlock& block, std::byte* values) {
  const __m512i order = _mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
  __m512i units[kBlockUnits];
  for (int64_t i = 0; i < block.units; ++i) units[i] = _mm512_loadu_si512(values + i * 64);
  for (int64_t i = 0; i < block.units; ++i) {
    const __m512i planes = _mm512_maskz_permutexvar_epi32(0xffff, order, units[i]);
    std::byte* high = values + i * kUnitColumns;
    _mm512_mask_storeu_epi64(high, 0x0f, planes);
    _mm512_mask_storeu_epi64(high + (block.units - 1) * kUnitColumns, 0xf0, planes);
  }
}

void PackInputs(int bits, int planes, const float* x, const ColumnBlock* blocks, int64_t block_count,
                std::byte* values, float* scales, int32_t* sums) {
  kPackedKernels_avx512vnni->pack_inputs(bits, planes, x, blocks, block_count, values, scales, sums);
}

void PackMany(int bits, int planes, const float* x, const ColumnBlock* blocks, int64_t block_count,
              std::byte* values, float* scales, int32_t* sums) {
  PackInputs(bits, planes, x, blocks, block_count, values, scales, sums);
  if (planes == 1) return;
  for (int64_t b = 0; b < block_count; ++b)
    SeparatePlanes(blocks[b], values + blocks[b].first_unit * kUnitColumns * planes);
}

void Multiply(int bits, const WeightTile* tiles, const PackedInputs& inputs, int64_t first_row, int64_t rows,
              float* out) {
  kPackedKernels_avx512vnni->multiply(bits, tiles, inputs, first_row, rows, out);
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

constexpr PackedKernels kKernels = {"amx",    Supported, INT64_MAX,   PackInputs,
                                    Multiply, PackMany,  MultiplyMany};

}  // namespace

extern const PackedKernels* const kPackedKernels_amx;
const PackedKernels* const kPackedKernels_amx = &kKernels;

}  // namespace gptq

#endif  // __x86_64__
