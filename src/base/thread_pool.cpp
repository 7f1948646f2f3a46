#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"

namespace gptq {

// A token of a small model takes hundreds of short loops: threads that slept between them would spend most of
// their time waking up. So they look for work for a moment before they sleep, but not where there are more
// threads than cores, as then another one needs the core. What threads wait for changes without a lock: who
// changes it then asks whether anybody sleeps, and who goes to sleep says so before the last look.
struct ThreadPool::State {
  static constexpr int kSpins = 4000;  // some tens of microseconds

  explicit State(int threads) : spins(threads <= AvailableCores() ? kSpins : 0) {}

  // Each on a cache line of its own: waiting for one must not slow down the others.
  alignas(64) std::atomic<uint64_t> generation{0};
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<int> running{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  const int spins;
  Piece body;
  int64_t count = 0;
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable changed;
  std::exception_ptr error;

  void RunPieces(int thread) {
    try {
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1))
        body.call(body.context, i, thread);
    } catch (...) {
      next.store(count);
      std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }

  // Until `ready`: looks for a moment, then sleeps.
  template <typename Ready>
  void Wait(const Ready& ready) {
    for (int i = 0; i < spins; ++i) {
      if (ready()) return;
      Pause();
    }
    std::unique_lock lock(mutex);
    ++sleepers;
    changed.wait(lock, ready);
    --sleepers;
  }

  // After a change that others may wait for.
  void Wake() {
    if (sleepers == 0) return;
    std::lock_guard lock(mutex);
    changed.notify_all();
  }

  static void Pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  void Work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      Wait([&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      RunPieces(thread);
      if (--running == 0) Wake();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {
  CHECK(threads >= 1);
  for (int t = 1; t < threads; ++t) state_->workers.emplace_back([this, t] { state_->Work(t); });
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->Wake();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::Run(int64_t count, Piece body) {
  State& s = *state_;
  if (s.workers.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body.call(body.context, i, 0);
    return;
  }
  s.body = body;
  s.count = count;
  s.next = 0;
  s.error = nullptr;
  s.running = static_cast<int>(s.workers.size());
  ++s.generation;
  s.Wake();
  s.RunPieces(0);
  s.Wait([&] { return s.running == 0; });
  if (s.error) std::rethrow_exception(s.error);
}

int AvailableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace gptq
