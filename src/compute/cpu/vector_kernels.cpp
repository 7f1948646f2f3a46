#include "compute/cpu/vector_kernels.h"

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "compute/cpu/packed_kernels.h"

namespace gptq {

extern const VectorKernels* const kVectorKernels_portable;
#if defined(__x86_64__)
extern const VectorKernels* const kVectorKernels_avx2;
extern const VectorKernels* const kVectorKernels_avx512;
#endif

std::span<const VectorKernels* const> AllVectorKernels() {
  static const VectorKernels* const kAll[] = {
#if defined(__x86_64__)
    kVectorKernels_avx512,
    kVectorKernels_avx2,
#endif
    kVectorKernels_portable
  };
  return kAll;
}

const VectorKernels& SelectVectorKernels(std::string_view isa) {
  // Their additions matter only to integers (packed_kernels.h).
  if ((isa == "avx512vnni" || isa == "amx") && SelectPackedKernels(isa).isa == isa) isa = "avx512";
  std::string known;
  for (const VectorKernels* kernels : AllVectorKernels()) {
    if (kernels->supported() && (isa.empty() || isa == kernels->isa)) return *kernels;
    if (kernels->supported()) known += (known.empty() ? "" : ", ") + std::string(kernels->isa);
  }
  throw Error(Concat("instruction set '", isa, "' is unknown or this processor lacks it"), "GPTQ_ISA",
              Concat("choose one of: ", known));
}

std::string RequestedIsa() {
  const char* forced = std::getenv("GPTQ_ISA");
  return forced != nullptr ? forced : "";
}

const VectorKernels& DefaultVectorKernels() { return SelectVectorKernels(RequestedIsa()); }

}  // namespace gptq
