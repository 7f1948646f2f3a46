#include "compute/cpu/packed_kernels.h"

#include <string>

#include "base/error.h"

namespace gptq {

extern const PackedKernels* const kPackedKernels_portable;
#if defined(__x86_64__)
extern const PackedKernels* const kPackedKernels_avx2;
extern const PackedKernels* const kPackedKernels_avx512;
extern const PackedKernels* const kPackedKernels_avx512vnni;
extern const PackedKernels* const kPackedKernels_amx;
#endif

std::span<const PackedKernels* const> AllPackedKernels() {
  static const PackedKernels* const kAll[] = {
#if defined(__x86_64__)
    kPackedKernels_amx,
    kPackedKernels_avx512vnni,
    kPackedKernels_avx512,
    kPackedKernels_avx2,
#endif
    kPackedKernels_portable
  };
  return kAll;
}

const PackedKernels& SelectPackedKernels(std::string_view isa) {
  std::string known;
  for (const PackedKernels* kernels : AllPackedKernels()) {
    if (kernels->supported() && (isa.empty() || isa == kernels->isa)) return *kernels;
    if (kernels->supported()) known += (known.empty() ? "" : ", ") + std::string(kernels->isa);
  }
  throw Error(Concat("instruction set '", isa, "' is unknown or this processor lacks it"), "GPTQ_ISA",
              Concat("choose one of: ", known));
}

}  // namespace gptq
