#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "compute/cuda/kernel.cuh"
#include "compute/device_memory.h"

namespace gptq::cuda {
namespace {

constexpr int kMostThreads = 1024;
constexpr size_t kStackBytes = 64 * 1024;

// The threads of one block.
class Fibers {
 public:
  static Fibers& Get() {
    static Fibers fibers;
    return fibers;
  }

  void Run(int threads, const std::function<void()>& body) {
    CHECK(threads <= kMostThreads && threads > 0);
    body_ = &body;
    count_ = threads;
    for (int i = 0; i < threads; ++i) states_[i] = kNew;
    while (Pass()) Release();
  }

  void Wait(bool warp) {
    states_[current_] = warp ? kAtWarp : kAtBlock;
    Leave();
  }

  uint32_t* lane(int index) { return lanes_[current_ / 32 * 32 + index]; }
  void* shared() { return shared_.data(); }

 private:
  enum State { kNew, kReady, kAtWarp, kAtBlock, kDone };

  Fibers() : shared_(256 * 1024) {
    stacks_ = static_cast<char*>(mmap(nullptr, kStackBytes * kMostThreads, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    CHECK(stacks_ != MAP_FAILED);
  }

  // Every thread that can goes on to its next barrier. False when all are done.
  bool Pass() {
    bool any = false;
    for (int i = 0; i < count_; ++i) {
      if (states_[i] != kNew && states_[i] != kReady) continue;
      any = true;
      Enter(i);
    }
    const bool done = std::all_of(states_, states_ + count_, [](State s) { return s == kDone; });
    CHECK(any || done);  // else a barrier that some threads never reach
    return !done;
  }

  void Release() {
    const bool block =
        std::all_of(states_, states_ + count_, [](State s) { return s == kAtBlock || s == kDone; });
    for (int first = 0; first < count_; first += 32) {
      State* const end = states_ + std::min(first + 32, count_);
      const bool warp = std::all_of(states_ + first, end, [](State s) { return s == kAtWarp || s == kDone; });
      for (State* s = states_ + first; s < end; ++s) {
        if ((warp && *s == kAtWarp) || (block && *s == kAtBlock)) *s = kReady;
      }
    }
  }

  void Enter(int index) {
    current_ = index;
    threadIdx = {static_cast<unsigned>(index), 0, 0};
    if (_setjmp(scheduler_) != 0) return;
    if (states_[index] == kReady) _longjmp(jumps_[index], 1);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks_ + kStackBytes * static_cast<size_t>(index);
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, &Fibers::Begin, 0);
    setcontext(&context);
  }

  static void Begin() {
    Fibers& fibers = Get();
    (*fibers.body_)();
    fibers.states_[fibers.current_] = kDone;
    _longjmp(fibers.scheduler_, 1);
  }

  void Leave() {
    if (_setjmp(jumps_[current_]) == 0) _longjmp(scheduler_, 1);
  }

  const std::function<void()>* body_ = nullptr;
  int count_ = 0, current_ = 0;
  State states_[kMostThreads];
  jmp_buf jumps_[kMostThreads], scheduler_;
  char* stacks_;
  uint32_t lanes_[kMostThreads][16];
  std::vector<uint4> shared_;
};

using Work = std::function<void()>;

float At(const Half* data, int64_t index) { return ToFloat(data[index]); }
float At(const float* data, int64_t index) { return data[index]; }

}  // namespace

// Memory of the device is closed to the program unless a kernel runs or a copy is made.
struct Device::Implementation {
  static constexpr size_t kArenaBytes = size_t{1} << 32;
  std::byte* arena;
  size_t used = 0;
  bool recording = false;
  std::vector<std::vector<Work>> graphs;

  Implementation()
      : arena(static_cast<std::byte*>(
            mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    CHECK(arena != MAP_FAILED);
  }
  ~Implementation() { munmap(arena, kArenaBytes); }
  void Protect(int how) { CHECK(mprotect(arena, used, how) == 0); }
  void Do(Work work) {
    if (recording) return graphs.back().push_back(std::move(work));
    Protect(PROT_READ | PROT_WRITE);
    work();
    Protect(PROT_NONE);
  }
};

void EmulateBlockBarrier() { Fibers::Get().Wait(false); }
void EmulateWarpBarrier() { Fibers::Get().Wait(true); }
uint32_t* EmulatedLane(int lane) { return Fibers::Get().lane(lane); }
void* EmulatedSharedMemory() { return Fibers::Get().shared(); }

void EmulateLaunch(Device& device, const char*, const Geometry& geometry, Work thread) {
  CHECK(geometry.shared_bytes <= 227 * 1024 && geometry.blocks_y < 65536 && geometry.blocks_z < 65536);
  device.implementation().Do([=] {
    blockDim = {static_cast<unsigned>(geometry.threads), 1, 1};
    gridDim = {static_cast<unsigned>(geometry.blocks_x), static_cast<unsigned>(geometry.blocks_y),
               static_cast<unsigned>(geometry.blocks_z)};
    for (unsigned z = 0; z < gridDim.z; ++z) {
      for (unsigned y = 0; y < gridDim.y; ++y) {
        for (unsigned x = 0; x < gridDim.x; ++x) {
          blockIdx = {x, y, z};
          Fibers::Get().Run(geometry.threads, thread);
        }
      }
    }
  });
}

int DeviceCount() { return 1; }

Device::Device(int64_t memory_limit)
    : name_("emulated GPU"),
      multiprocessors_(2),
      memory_limit_(memory_limit > 0 ? memory_limit : static_cast<int64_t>(Implementation::kArenaBytes)),
      implementation_(std::make_unique<Implementation>()) {}

Device::~Device() = default;

void Device::CountAllocation(std::byte* begin, int64_t bytes) {
  ++allocations_;
  ranges_[begin] = bytes;
  allocated_ += bytes;
  most_allocated_ = std::max(most_allocated_, allocated_);
}

void Device::CountRelease(std::byte* begin) {
  allocated_ -= ranges_[begin];
  ranges_.erase(begin);
}

bool Device::Owns(const void* pointer) const {
  const auto* byte = static_cast<const std::byte*>(pointer);
  return byte >= implementation_->arena && byte < implementation_->arena + implementation_->used;
}

// Memory that is given back is not used again: what points to it is found out.
Memory Device::Allocate(int64_t bytes) {
  bytes = std::max<int64_t>(4096, (bytes + 4095) / 4096 * 4096);
  Implementation& all = *implementation_;
  if (allocated_ + bytes > memory_limit_ || all.used + static_cast<size_t>(bytes) > all.kArenaBytes)
    throw DeviceMemoryError("the GPU's memory does not suffice", name_, "raise --memory");
  std::byte* begin = all.arena + all.used;
  all.used += static_cast<size_t>(bytes);
  CHECK(mprotect(begin, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE) == 0);
  std::memset(begin, 0xff, static_cast<size_t>(bytes));
  all.Protect(PROT_NONE);
  CountAllocation(begin, bytes);
  return Memory(begin, [this](std::byte* p) {
    madvise(p, static_cast<size_t>(ranges_[p]), MADV_DONTNEED);
    CountRelease(p);
  });
}

void Device::ToDevice(void* to, const void* from, int64_t bytes) {
  CHECK(!implementation_->recording && (bytes == 0 || (Owns(to) && !Owns(from))));
  implementation_->Do([=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
}

void Device::ToHost(void* to, const void* from, int64_t bytes) {
  CHECK(!implementation_->recording && (bytes == 0 || (Owns(from) && !Owns(to))));
  implementation_->Do([=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
}

void Device::OnDevice(void* to, const void* from, int64_t bytes) {
  CHECK(bytes == 0 || (Owns(from) && Owns(to)));
  implementation_->Do([=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
}

void Device::Zero(void* to, int64_t bytes) {
  CHECK(bytes == 0 || Owns(to));
  implementation_->Do([=] { std::memset(to, 0, static_cast<size_t>(bytes)); });
}

void Device::Wait() {}

namespace {

template <typename Element>
void Multiply(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b, bool b_plain,
              float beta, Operand c, int64_t batch) {
  for (int64_t i = 0; i < batch * rows * columns; ++i) {
    const int64_t item = i / (rows * columns), row = i / columns % rows, column = i % columns;
    const auto* left = static_cast<const Element*>(a.data) + item * a.step + row * a.stride;
    const auto* right = static_cast<const Element*>(b.data) + item * b.step;
    float sum = 0;
    for (int64_t k = 0; k < depth; ++k)
      sum += At(left, k) * At(right, b_plain ? k * b.stride + column : column * b.stride + k);
    float& out = static_cast<float*>(const_cast<void*>(c.data))[item * c.step + row * c.stride + column];
    out = alpha * sum + (beta == 0 ? 0 : beta * out);
  }
}

}  // namespace

void Device::HalfProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                         bool b_plain, float beta, Operand c, int64_t batch) {
  implementation_->Do([=] { Multiply<Half>(rows, columns, depth, alpha, a, b, b_plain, beta, c, batch); });
}

void Device::FloatProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                          bool b_plain, float beta, Operand c, int64_t batch) {
  implementation_->Do([=] { Multiply<float>(rows, columns, depth, alpha, a, b, b_plain, beta, c, batch); });
}

namespace {

template <typename Element>
void AddOuter(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b, Operand c) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum += At(static_cast<const Element*>(a.data), k * a.stride + row) *
               At(static_cast<const Element*>(b.data), k * b.stride + column);
      static_cast<float*>(const_cast<void*>(c.data))[row * c.stride + column] += alpha * sum;
    }
  }
}

}  // namespace

void Device::HalfOuterProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a, Operand b,
                              Operand c) {
  implementation_->Do([=] { AddOuter<Half>(rows, columns, depth, alpha, a, b, c); });
}

void Device::FloatOuterProduct(int64_t rows, int64_t columns, int64_t depth, float alpha, Operand a,
                               Operand b, Operand c) {
  implementation_->Do([=] { AddOuter<float>(rows, columns, depth, alpha, a, b, c); });
}

bool Device::InverseCholesky(double* a, int64_t n) {
  bool positive = true;
  implementation_->Do([=, &positive] {
    for (int64_t i = 0; i < n && positive; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = a[i * n + j];
        for (int64_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
        if (i == j) positive = positive && sum > 0;
        a[i * n + j] = i == j ? std::sqrt(sum) : sum / a[j * n + j];
      }
    }
    for (int64_t column = 0; column < n && positive; ++column) {  // below the diagonal from the top down
      for (int64_t i = column; i < n; ++i) {
        double sum = i == column ? 1 : 0;
        for (int64_t k = column; k < i; ++k) sum -= a[i * n + k] * a[k * n + column];
        a[i * n + column] = sum / a[i * n + i];
      }
    }
  });
  return positive;
}

void Device::BeginGraph() {
  CHECK(!implementation_->recording);
  implementation_->recording = true;
  implementation_->graphs.emplace_back();
}

int Device::EndGraph() {
  implementation_->recording = false;
  return static_cast<int>(implementation_->graphs.size()) - 1;
}

void Device::ReplayGraph(int graph) {
  for (const Work& work : implementation_->graphs[static_cast<size_t>(graph)]) implementation_->Do(work);
}

void Device::StartTimer() {}
double Device::StopTimer() { return 0; }

}  // namespace gptq::cuda
