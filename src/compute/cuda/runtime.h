// What the CUDA backend needs of a device: memory, copies, launches, products of half-precision matrices. Two
// implementations: runtime.cu on CUDA, and tests/cuda/emulated_runtime.cpp, which runs the same kernels on
// the processor, thread by thread, so that they are tested where there is no GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace gptq::cuda {

// Grid and blocks of a launch, and the bytes of shared memory that a block asks for at run time.
struct Geometry {
  int64_t blocks_x = 1, blocks_y = 1, blocks_z = 1;
  int threads = 256;
  int64_t shared_bytes = 0;
};

// Memory of the device that is given back with the last owner. Its contents are undefined at first.
using Memory = std::shared_ptr<std::byte>;

// One matrix of a product; row-major, `stride` elements from row to row, `step` from one of a batch to the
// next.
struct Operand {
  const void* data = nullptr;
  int64_t stride = 0;
  int64_t step = 0;
};

class Device {
 public:
  // The first CUDA device. `memory_limit`: bytes that may be allocated at most; 0: what is free. Throws Error
  // where there is none.
  explicit Device(int64_t memory_limit);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }
  int multiprocessors() const { return multiprocessors_; }
  int64_t memory_limit() const { return memory_limit_; }
  int64_t allocated() const { return allocated_; }
  int64_t most_allocated() const { return most_allocated_; }
  // How often memory has been allocated: as long as this stays, everything is where it was.
  int64_t allocations() const { return allocations_; }

  // Throws DeviceMemoryError when the limit or the device's memory is exceeded.
  Memory Allocate(int64_t bytes);
  // Whether this points into the device's memory.
  bool Owns(const void* pointer) const;

  // All work is done in the order in which it is asked for. ToDevice has read, ToHost has written the host's
  // memory when it returns.
  void ToDevice(void* to, const void* from, int64_t bytes);
  void ToHost(void* to, const void* from, int64_t bytes);
  void OnDevice(void* to, const void* from, int64_t bytes);
  void Zero(void* to, int64_t bytes);
  void Wait();

  // c [rows, columns] = alpha a [rows, depth] bᵀ [columns, depth] (or, with `b_plain`, b [depth, columns]) +
  // beta c, `batch` times. a and b are float16, c float32; sums are float32.
  void HalfProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                   bool b_plain, float beta, Operand c, int64_t batch = 1);
  // The same of float32.
  void FloatProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                    bool b_plain, float beta, Operand c, int64_t batch = 1);
  // c [rows, columns] += alpha aᵀ b of a [depth, rows], b [depth, columns]. a and b are float16, c float32.
  void HalfOuterProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                        Operand c);
  // The same of float32.
  void FloatOuterProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                         Operand c);
  // c [rows, columns] += alpha a [rows, depth] b [depth, columns], all float32.
  void FloatProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                    Operand c) {
    FloatProduct(rows, columns, depth, alpha, a, b, true, 1, c);
  }
  // The lower triangle of the inverse of the lower Cholesky factor of `a` [n, n], row-major float64 of which
  // the lower triangle is read, takes its place. False: it is not positive definite.
  bool InverseCholesky(double* a, int64_t n);

  // Everything between Begin and End is recorded instead of done; Replay does it. Graphs are numbered from 0.
  void BeginGraph();
  int EndGraph();
  void ReplayGraph(int graph);

  // Seconds that the device takes for what is asked of it between the two calls.
  void StartTimer();
  double StopTimer();

  struct Implementation;
  Implementation& implementation() { return *implementation_; }

 private:
  void CountAllocation(std::byte* begin, int64_t bytes);
  void CountRelease(std::byte* begin);

  std::string name_;
  int multiprocessors_ = 1;
  int64_t memory_limit_ = 0, allocated_ = 0, most_allocated_ = 0, allocations_ = 0;
  std::map<const std::byte*, int64_t> ranges_;  // begin and bytes
  std::unique_ptr<Implementation> implementation_;
};

// How many CUDA devices there are; 0 where the driver is missing.
int DeviceCount();

}  // namespace gptq::cuda
