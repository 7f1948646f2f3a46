#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <dlfcn.h>

#include <vector>

#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "compute/cuda/runtime.h"
#include "compute/device_memory.h"

namespace gptq::cuda {
namespace {

void Check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(Concat("the GPU failed at ", what, ": ", cudaGetErrorString(status)), "--device cuda",
              "use --device cpu, or report this");
}

// NVIDIA's libraries are opened when they are first needed: the program starts without them, and fast.
class Library {
 public:
  explicit Library(const char* name) : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) {
      throw Error(Concat("the library ", name, " cannot be opened"), "--device cuda",
                  "install the CUDA toolkit's libraries, or add their folder to LD_LIBRARY_PATH");
    }
  }
  template <typename Function>
  Function* Find(const char* symbol) const {
    void* found = dlsym(handle_, symbol);
    if (found == nullptr) {
      throw Error(Concat("the library ", name_, " has no ", symbol), "--device cuda",
                  "install the CUDA toolkit that this program was built with");
    }
    return reinterpret_cast<Function*>(found);
  }

 private:
  const char* name_;
  void* handle_;
};

#define GPTQ_TEXT_(x) #x
#define GPTQ_TEXT(x) GPTQ_TEXT_(x)
#define GPTQ_FIND(library, function) library.Find<decltype(function)>(GPTQ_TEXT(function))

using Gemm = cublasStatus_t(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                            const void*, cudaDataType, int, const void*, cudaDataType, int, const void*,
                            void*, cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
using GemmBatched = cublasStatus_t(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                                   const void*, const void*, cudaDataType, int, long long, const void*,
                                   cudaDataType, int, long long, const void*, void*, cudaDataType, int,
                                   long long, int, cublasComputeType_t, cublasGemmAlgo_t);

struct Blas {
  Library library{"libcublas.so." GPTQ_TEXT(CUBLAS_VER_MAJOR)};
  // These two are overloaded in C++.
  GemmBatched* gemm_batched = library.Find<GemmBatched>("cublasGemmStridedBatchedEx");
  Gemm* gemm = library.Find<Gemm>("cublasGemmEx");
  decltype(cublasSgemmStridedBatched)* sgemm_batched = GPTQ_FIND(library, cublasSgemmStridedBatched);
  cublasHandle_t handle = nullptr;

  explicit Blas(cudaStream_t stream) {
    CheckStatus(GPTQ_FIND(library, cublasCreate_v2)(&handle), "cublasCreate");
    CheckStatus(GPTQ_FIND(library, cublasSetStream_v2)(handle, stream), "cublasSetStream");
  }
  ~Blas() { GPTQ_FIND(library, cublasDestroy_v2)(handle); }
  static void CheckStatus(cublasStatus_t status, const char* what) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error(Concat("the GPU failed at ", what, ": cuBLAS status ", static_cast<int>(status)),
                "--device cuda", "use --device cpu, or report this");
  }
};

struct Solver {
  Library library{"libcusolver.so." GPTQ_TEXT(CUSOLVER_VER_MAJOR)};
  decltype(cusolverDnXpotrf)* potrf = GPTQ_FIND(library, cusolverDnXpotrf);
  decltype(cusolverDnXpotrf_bufferSize)* potrf_size = GPTQ_FIND(library, cusolverDnXpotrf_bufferSize);
  decltype(cusolverDnXtrtri)* trtri = GPTQ_FIND(library, cusolverDnXtrtri);
  decltype(cusolverDnXtrtri_bufferSize)* trtri_size = GPTQ_FIND(library, cusolverDnXtrtri_bufferSize);
  cusolverDnHandle_t handle = nullptr;
  cusolverDnParams_t parameters = nullptr;

  explicit Solver(cudaStream_t stream) {
    CheckStatus(GPTQ_FIND(library, cusolverDnCreate)(&handle), "cusolverDnCreate");
    CheckStatus(GPTQ_FIND(library, cusolverDnSetStream)(handle, stream), "cusolverDnSetStream");
    CheckStatus(GPTQ_FIND(library, cusolverDnCreateParams)(&parameters), "cusolverDnCreateParams");
  }
  ~Solver() {
    GPTQ_FIND(library, cusolverDnDestroyParams)(parameters);
    GPTQ_FIND(library, cusolverDnDestroy)(handle);
  }
  static void CheckStatus(cusolverStatus_t status, const char* what) {
    if (status == CUSOLVER_STATUS_SUCCESS) return;
    throw Error(Concat("the GPU failed at ", what, ": cuSOLVER status ", static_cast<int>(status)),
                "--device cuda", "use --device cpu, or report this");
  }
};

}  // namespace

struct Device::Implementation {
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  std::unique_ptr<Blas> blas;
  std::unique_ptr<Solver> solver;
  std::vector<cudaGraphExec_t> graphs;

  Blas& GetBlas() {
    if (!blas) blas = std::make_unique<Blas>(stream);
    return *blas;
  }
  Solver& GetSolver() {
    if (!solver) solver = std::make_unique<Solver>(stream);
    return *solver;
  }
};

cudaStream_t StreamOf(Device& device) { return device.implementation().stream; }

void ThrowLaunchError(cudaError_t status, const char* kernel) { Check(status, kernel); }

int DeviceCount() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

Device::Device(int64_t memory_limit) : memory_limit_(memory_limit) {
  if (DeviceCount() == 0) {
    throw Error("there is no CUDA device", "--device cuda",
                "use --device cpu, or install the driver of an NVIDIA GPU");
  }
  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  name_ = properties.name;
  multiprocessors_ = properties.multiProcessorCount;
  if (properties.major < 8) {
    throw Error(Concat(name_, " is older than compute capability 8.0"), "--device cuda", "use --device cpu");
  }
  size_t free = 0, total = 0;
  Check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  if (memory_limit_ == 0) memory_limit_ = static_cast<int64_t>(free) - (int64_t{512} << 20);
  implementation_ = std::make_unique<Implementation>();
  Check(cudaStreamCreateWithFlags(&implementation_->stream, cudaStreamNonBlocking), "cudaStreamCreate");
  Check(cudaEventCreate(&implementation_->begin), "cudaEventCreate");
  Check(cudaEventCreate(&implementation_->end), "cudaEventCreate");
  cudaMemPool_t pool;
  uint64_t keep = UINT64_MAX;
  Check(cudaDeviceGetDefaultMemPool(&pool, 0), "cudaDeviceGetDefaultMemPool");
  Check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
}

Device::~Device() {
  cudaStreamSynchronize(implementation_->stream);
  for (cudaGraphExec_t graph : implementation_->graphs) cudaGraphExecDestroy(graph);
  implementation_->blas.reset();
  implementation_->solver.reset();
  cudaEventDestroy(implementation_->begin);
  cudaEventDestroy(implementation_->end);
  cudaStreamDestroy(implementation_->stream);
}

void Device::CountAllocation(std::byte* begin, int64_t bytes) {
  ++allocations_;
  ranges_[begin] = bytes;
  allocated_ += bytes;
  most_allocated_ = allocated_ > most_allocated_ ? allocated_ : most_allocated_;
}

void Device::CountRelease(std::byte* begin) {
  allocated_ -= ranges_[begin];
  ranges_.erase(begin);
}

bool Device::Owns(const void* pointer) const {
  const auto* byte = static_cast<const std::byte*>(pointer);
  auto range = ranges_.upper_bound(byte);
  if (range == ranges_.begin()) return false;
  --range;
  return byte < range->first + range->second;
}

Memory Device::Allocate(int64_t bytes) {
  bytes = bytes > 0 ? (bytes + 255) / 256 * 256 : 256;
  void* memory = nullptr;
  if (allocated_ + bytes <= memory_limit_) {
    const cudaError_t status = cudaMallocAsync(&memory, static_cast<size_t>(bytes), implementation_->stream);
    if (status != cudaErrorMemoryAllocation) Check(status, "cudaMallocAsync");
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      memory = nullptr;
    }
  }
  if (memory == nullptr) {
    throw DeviceMemoryError(
        Concat("the GPU's memory does not suffice: ", allocated_ >> 20, " MiB are in use, ",
               (bytes + (1 << 20) - 1) >> 20, " more are needed, and ", memory_limit_ >> 20, " may be used"),
        name_, "raise --memory, shorten the sequences, or use --device cpu");
  }
  auto* begin = static_cast<std::byte*>(memory);
  CountAllocation(begin, bytes);
  return Memory(begin, [this](std::byte* p) {
    CountRelease(p);
    cudaFreeAsync(p, implementation_->stream);
  });
}

void Device::ToDevice(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  Check(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, implementation_->stream),
      "a copy to the device");
  Wait();  // pinned memory may still be read after the call
}

void Device::ToHost(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  Check(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, implementation_->stream),
      "a copy to the host");
  Wait();
}

void Device::OnDevice(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  Check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                        implementation_->stream),
        "a copy on the device");
}

void Device::Zero(void* to, int64_t bytes) {
  if (bytes == 0) return;
  Check(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), implementation_->stream), "cudaMemset");
}

void Device::Wait() { Check(cudaStreamSynchronize(implementation_->stream), "an earlier kernel"); }

void Device::HalfProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                         bool b_plain, float beta, Operand c, int64_t batch) {
  if (rows == 0 || columns == 0 || batch == 0) return;
  Blas& blas = implementation_->GetBlas();
  // cuBLAS counts columns first: it is asked for the transpose.
  Blas::CheckStatus(
      blas.gemm_batched(blas.handle, b_plain ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N,
                        static_cast<int>(columns), static_cast<int>(rows), static_cast<int>(depth), &alpha,
                        b.data, CUDA_R_16F, static_cast<int>(b.stride), b.step, a.data, CUDA_R_16F,
                        static_cast<int>(a.stride), a.step, &beta, const_cast<void*>(c.data), CUDA_R_32F,
                        static_cast<int>(c.stride), c.step, static_cast<int>(batch), CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT),
      "a half-precision product");
}

void Device::HalfOuterProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                              Operand c) {
  if (rows == 0 || columns == 0 || depth == 0) return;
  Blas& blas = implementation_->GetBlas();
  const float one = 1;
  Blas::CheckStatus(
      blas.gemm(blas.handle, CUBLAS_OP_N, CUBLAS_OP_T, static_cast<int>(columns), static_cast<int>(rows),
                static_cast<int>(depth), &alpha, b.data, CUDA_R_16F, static_cast<int>(b.stride), a.data,
                CUDA_R_16F, static_cast<int>(a.stride), &one, const_cast<void*>(c.data), CUDA_R_32F,
                static_cast<int>(c.stride), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      "a product of activations");
}

void Device::FloatProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                          bool b_plain, float beta, Operand c, int64_t batch) {
  if (rows == 0 || columns == 0 || batch == 0) return;
  Blas& blas = implementation_->GetBlas();
  Blas::CheckStatus(
      blas.sgemm_batched(blas.handle, b_plain ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N,
                         static_cast<int>(columns), static_cast<int>(rows), static_cast<int>(depth), &alpha,
                         static_cast<const float*>(b.data), static_cast<int>(b.stride), b.step,
                         static_cast<const float*>(a.data), static_cast<int>(a.stride), a.step, &beta,
                         static_cast<float*>(const_cast<void*>(c.data)), static_cast<int>(c.stride), c.step,
                         static_cast<int>(batch)),
      "a float32 product");
}

void Device::FloatOuterProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a,
                               Operand b, Operand c) {
  if (rows == 0 || columns == 0 || depth == 0) return;
  Blas& blas = implementation_->GetBlas();
  const float one = 1;
  Blas::CheckStatus(
      blas.sgemm_batched(blas.handle, CUBLAS_OP_N, CUBLAS_OP_T, static_cast<int>(columns),
                         static_cast<int>(rows), static_cast<int>(depth), &alpha,
                         static_cast<const float*>(b.data), static_cast<int>(b.stride), 0,
                         static_cast<const float*>(a.data), static_cast<int>(a.stride), 0, &one,
                         static_cast<float*>(const_cast<void*>(c.data)), static_cast<int>(c.stride), 0, 1),
      "a float32 product");
}

bool Device::InverseCholesky(double* a, int64_t n) {
  Solver& solver = implementation_->GetSolver();
  // Row-major lower is cuSOLVER's upper.
  size_t device_bytes = 0, host_bytes = 0, more_device = 0, more_host = 0;
  Solver::CheckStatus(solver.potrf_size(solver.handle, solver.parameters, CUBLAS_FILL_MODE_UPPER, n,
                                        CUDA_R_64F, a, n, CUDA_R_64F, &device_bytes, &host_bytes),
                      "the factorization's memory");
  Solver::CheckStatus(solver.trtri_size(solver.handle, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n,
                                        CUDA_R_64F, a, n, &more_device, &more_host),
                      "the inverse's memory");
  const size_t work_bytes = device_bytes > more_device ? device_bytes : more_device;
  const Memory work = Allocate(static_cast<int64_t>(work_bytes)), info = Allocate(sizeof(int));
  std::vector<std::byte> host_work(host_bytes > more_host ? host_bytes : more_host);
  auto* const device_info = reinterpret_cast<int*>(info.get());
  const auto failed = [&] {
    int status = 0;
    ToHost(&status, device_info, sizeof(status));
    return status != 0;
  };
  Solver::CheckStatus(
      solver.potrf(solver.handle, solver.parameters, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, a, n, CUDA_R_64F,
                   work.get(), device_bytes, host_work.data(), host_bytes, device_info),
      "the factorization");
  if (failed()) return false;
  Solver::CheckStatus(solver.trtri(solver.handle, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n, CUDA_R_64F,
                                   a, n, work.get(), more_device, host_work.data(), more_host, device_info),
                      "the inverse");
  return !failed();
}

void Device::BeginGraph() {
  Check(cudaStreamBeginCapture(implementation_->stream, cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
}

int Device::EndGraph() {
  cudaGraph_t graph;
  Check(cudaStreamEndCapture(implementation_->stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  Check(status, "cudaGraphInstantiate");
  implementation_->graphs.push_back(executable);
  return static_cast<int>(implementation_->graphs.size()) - 1;
}

void Device::ReplayGraph(int graph) {
  Check(cudaGraphLaunch(implementation_->graphs[static_cast<size_t>(graph)], implementation_->stream),
        "cudaGraphLaunch");
}

void Device::StartTimer() {
  Check(cudaEventRecord(implementation_->begin, implementation_->stream), "timing");
}

double Device::StopTimer() {
  Check(cudaEventRecord(implementation_->end, implementation_->stream), "timing");
  Check(cudaEventSynchronize(implementation_->end), "an earlier kernel");
  float milliseconds = 0;
  Check(cudaEventElapsedTime(&milliseconds, implementation_->begin, implementation_->end), "timing");
  return static_cast<double>(milliseconds) / 1000;
}

}  // namespace gptq::cuda
