#include "base/convert.h"

#include <cstring>

#include "base/block_decoders.h"
#include "base/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define GPTQ_AVX2 [[gnu::target("avx2,f16c")]]
#endif

namespace gptq {
namespace {

template <typename Stored>
void IntegersToFloat(const std::byte* source, int64_t elements, float* destination) {
  for (int64_t i = 0; i < elements; ++i) {
    Stored value;
    std::memcpy(&value, source + i * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    destination[i] = static_cast<float>(value);
  }
}

void BoolsToFloat(const std::byte* source, int64_t elements, float* destination) {
  for (int64_t i = 0; i < elements; ++i) destination[i] = source[i] == std::byte{0} ? 0.0f : 1.0f;
}

void BFloat16sToFloat(const std::byte* source, int64_t elements, float* destination) {
  for (int64_t i = 0; i < elements; ++i) {
    uint16_t bits;
    std::memcpy(&bits, source + 2 * i, 2);
    destination[i] = BFloat16ToFloat(bits);
  }
}

void FloatsToBFloat16(const float* source, int64_t elements, std::byte* destination) {
  for (int64_t i = 0; i < elements; ++i) {
    const uint16_t bits = FloatToBFloat16(source[i]);
    std::memcpy(destination + 2 * i, &bits, 2);
  }
}

// The portable loops. The tail of the AVX2 loops is theirs too.
struct Portable {
  static void HalvesToFloat(const std::byte* source, int64_t elements, float* destination) {
    for (int64_t i = 0; i < elements; ++i) {
      uint16_t bits;
      std::memcpy(&bits, source + 2 * i, 2);
      destination[i] = HalfToFloat(bits);
    }
  }
  static void FloatsToHalf(const float* source, int64_t elements, std::byte* destination) {
    for (int64_t i = 0; i < elements; ++i) {
      const uint16_t bits = FloatToHalf(source[i]);
      std::memcpy(destination + 2 * i, &bits, 2);
    }
  }
  template <typename Block>
  static void BlocksToFloat(const std::byte* source, int64_t elements, float* destination) {
    const DTypeInfo& info = Info(Block::kDType);
    const auto* block = reinterpret_cast<const uint8_t*>(source);
    for (int64_t i = 0; i < elements; i += info.block_elements, block += info.block_bytes) {
      Block::Decode(block, destination + i);
    }
  }
};

#if defined(__x86_64__)
// The same values bit by bit (but for the payload of NaNs): no fused operations, the same order.
struct Avx2 {
  GPTQ_AVX2 static void HalvesToFloat(const std::byte* source, int64_t elements, float* destination) {
    int64_t i = 0;
    for (; i + 8 <= elements; i += 8) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 2 * i));
      _mm256_storeu_ps(destination + i, _mm256_cvtph_ps(halves));
    }
    Portable::HalvesToFloat(source + 2 * i, elements - i, destination + i);
  }
  GPTQ_AVX2 static void FloatsToHalf(const float* source, int64_t elements, std::byte* destination) {
    int64_t i = 0;
    for (; i + 8 <= elements; i += 8) {
      const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(destination + 2 * i), halves);
    }
    Portable::FloatsToHalf(source + i, elements - i, destination + 2 * i);
  }
  template <typename Block>
  GPTQ_AVX2 static void BlocksToFloat(const std::byte* source, int64_t elements, float* destination) {
    const DTypeInfo& info = Info(Block::kDType);
    const auto* block = reinterpret_cast<const uint8_t*>(source);
    for (int64_t i = 0; i < elements; i += info.block_elements, block += info.block_bytes) {
      Block::Decode(block, destination + i);
    }
  }
};
#endif

template <typename Loops>
void ToFloatWith(DType dtype, const std::byte* source, int64_t elements, float* destination) {
  using namespace block_decoders;
  switch (dtype) {
    case DType::kF64:
      return IntegersToFloat<double>(source, elements, destination);
    case DType::kF32:
      if (elements > 0) std::memcpy(destination, source, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return Loops::HalvesToFloat(source, elements, destination);
    case DType::kBF16:
      return BFloat16sToFloat(source, elements, destination);
    case DType::kI64:
      return IntegersToFloat<int64_t>(source, elements, destination);
    case DType::kI32:
      return IntegersToFloat<int32_t>(source, elements, destination);
    case DType::kI16:
      return IntegersToFloat<int16_t>(source, elements, destination);
    case DType::kI8:
      return IntegersToFloat<int8_t>(source, elements, destination);
    case DType::kU8:
      return IntegersToFloat<uint8_t>(source, elements, destination);
    case DType::kBool:
      return BoolsToFloat(source, elements, destination);
    case DType::kQ4_0:
      return Loops::template BlocksToFloat<Q4_0>(source, elements, destination);
    case DType::kQ4_1:
      return Loops::template BlocksToFloat<Q4_1>(source, elements, destination);
    case DType::kQ5_0:
      return Loops::template BlocksToFloat<Q5_0>(source, elements, destination);
    case DType::kQ5_1:
      return Loops::template BlocksToFloat<Q5_1>(source, elements, destination);
    case DType::kQ8_0:
      return Loops::template BlocksToFloat<Q8_0>(source, elements, destination);
    case DType::kQ2_K:
      return Loops::template BlocksToFloat<Q2_K>(source, elements, destination);
    case DType::kQ3_K:
      return Loops::template BlocksToFloat<Q3_K>(source, elements, destination);
    case DType::kQ4_K:
      return Loops::template BlocksToFloat<Q4_K>(source, elements, destination);
    case DType::kQ5_K:
      return Loops::template BlocksToFloat<Q5_K>(source, elements, destination);
    case DType::kQ6_K:
      return Loops::template BlocksToFloat<Q6_K>(source, elements, destination);
  }
  CHECK(false);
}

template <typename Loops>
void FromFloatWith(const float* source, int64_t elements, DType dtype, std::byte* destination) {
  switch (dtype) {
    case DType::kF32:
      if (elements > 0) std::memcpy(destination, source, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return Loops::FloatsToHalf(source, elements, destination);
    case DType::kBF16:
      return FloatsToBFloat16(source, elements, destination);
    default:
      CHECK(false);
  }
}

bool UseAvx2() {
#if defined(__x86_64__) && defined(__clang__)  // which knows no "f16c" before 19; every processor with AVX2 has it
  static const bool supported = __builtin_cpu_supports("avx2");
  return supported;
#elif defined(__x86_64__)
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  return supported;
#else
  return false;
#endif
}

}  // namespace

void ToFloat(DType dtype, const std::byte* source, int64_t elements, float* destination) {
  CHECK(elements >= 0 && elements % Info(dtype).block_elements == 0);
#if defined(__x86_64__)
  if (UseAvx2()) return ToFloatWith<Avx2>(dtype, source, elements, destination);
#endif
  ToFloatWith<Portable>(dtype, source, elements, destination);
}

Tensor ToFloat(const TensorView& view) {
  Tensor values = Tensor::Uninitialized(DType::kF32, view.shape);
  if (!values.empty()) ToFloat(view.dtype, view.data, view.elements(), values.As<float>().data());
  return values;
}

void FromFloat(const float* source, int64_t elements, DType dtype, std::byte* destination) {
  CHECK(elements >= 0);
#if defined(__x86_64__)
  if (UseAvx2()) return FromFloatWith<Avx2>(source, elements, dtype, destination);
#endif
  FromFloatWith<Portable>(source, elements, dtype, destination);
}

Tensor FromFloat(const Tensor& values, DType dtype) {
  Tensor converted = Tensor::Uninitialized(dtype, values.shape());
  if (!converted.empty()) FromFloat(values.As<float>().data(), values.elements(), dtype, converted.data());
  return converted;
}

void ToFloatPortable(DType dtype, const std::byte* source, int64_t elements, float* destination) {
  ToFloatWith<Portable>(dtype, source, elements, destination);
}

void FromFloatPortable(const float* source, int64_t elements, DType dtype, std::byte* destination) {
  FromFloatWith<Portable>(source, elements, dtype, destination);
}

}  // namespace gptq
