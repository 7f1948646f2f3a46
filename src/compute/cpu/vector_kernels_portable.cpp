#include "compute/cpu/vector_kernels.h"

namespace gptq {
namespace {

constexpr int kLanes = 4;

#include "compute/cpu/vector_kernels_generic.h"

bool Supported() { return true; }

constexpr VectorKernels kKernels = MakeKernels("portable", Supported);

}  // namespace

extern const VectorKernels* const kVectorKernels_portable;
const VectorKernels* const kVectorKernels_portable = &kKernels;

}  // namespace gptq
