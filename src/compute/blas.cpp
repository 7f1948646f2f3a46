#include "compute/blas.h"

#include <cblas.h>

#include <cstdlib>
#include <limits>

#include "base/error.h"

extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void dtrtri_(const char* uplo, const char* diag, const int* n, double* a, const int* lda, int* info);
char* openblas_get_corename(void);
}

namespace gptq::blas {
namespace {

// Debian's OpenBLAS takes processors younger than itself for a Prescott and is then five times too slow. Its
// own constructor reads this variable, so ours has an earlier priority; a value that the user has set stays.
__attribute__((constructor(101))) void ChooseKernels() {
  setenv("OPENBLAS_NUM_THREADS", "1", /*overwrite=*/1);  // our own threads share the work (blas.h)
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    setenv("OPENBLAS_CORETYPE", "SkylakeX", /*overwrite=*/0);
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    setenv("OPENBLAS_CORETYPE", "Haswell", /*overwrite=*/0);
  }
#endif
}

CBLAS_TRANSPOSE Op(bool transpose) { return transpose ? CblasTrans : CblasNoTrans; }
int Int(int64_t value) {
  CHECK(value >= 0 && value <= std::numeric_limits<int>::max());
  return static_cast<int>(value);
}

}  // namespace

void Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
          int64_t a_stride, const float* b, int64_t b_stride, float beta, float* c, int64_t c_stride) {
  cblas_sgemm(CblasRowMajor, Op(transpose_a), Op(transpose_b), Int(m), Int(n), Int(k), alpha, a,
              Int(a_stride), b, Int(b_stride), beta, c, Int(c_stride));
}

void Gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
          int64_t a_stride, const double* b, int64_t b_stride, double beta, double* c, int64_t c_stride) {
  cblas_dgemm(CblasRowMajor, Op(transpose_a), Op(transpose_b), Int(m), Int(n), Int(k), alpha, a,
              Int(a_stride), b, Int(b_stride), beta, c, Int(c_stride));
}

void Syrk(int64_t n, int64_t k, float alpha, const float* a, int64_t a_stride, float* c, int64_t c_stride) {
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, Int(n), Int(k), alpha, a, Int(a_stride), 1.0f, c,
              Int(c_stride));
}

// LAPACK is column-major: its upper triangle is our lower one.
bool CholeskyLower(int64_t n, double* a, int64_t stride) {
  const int size = Int(n), lda = Int(stride);
  int info = 0;
  dpotrf_("U", &size, a, &lda, &info);
  return info == 0;
}

bool InvertLower(int64_t n, double* a, int64_t stride) {
  const int size = Int(n), lda = Int(stride);
  int info = 0;
  dtrtri_("U", "N", &size, a, &lda, &info);
  return info == 0;
}

std::string CoreName() { return openblas_get_corename(); }

}  // namespace gptq::blas
