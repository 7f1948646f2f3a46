#include "base/half.h"
#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 4;

typedef float Four __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Four LoadHalves(const uint16_t* p) {
  return Four{HalfToFloat(p[0]), HalfToFloat(p[1]), HalfToFloat(p[2]), HalfToFloat(p[3])};
}

inline Four LoadBytes(const int8_t* p) {
  return Four{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
              static_cast<float>(p[3])};
}

#include "compute/cpu/vector_kernels_generic.h"

bool Supported() { return true; }

constexpr VectorKernels kKernels = MakeKernels("portable", Supported);

}  // namespace

extern const VectorKernels* const kVectorKernels_portable;
const VectorKernels* const kVectorKernels_portable = &kKernels;

}  // namespace gptq
