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
// threads than cores, as then another one needs the core.
struct ThreadPool::State {
  static constexpr int kSpins = 4000;  // some tens of microseconds

  explicit State(int threads) : spins(threads <= AvailableCores() ? kSpins : 0) {}

  std::vector<std::thread> workers;
  const int spins;
  std::mutex mutex;
  std::condition_variable start, finish;
  std::atomic<uint64_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<bool> stop{false};
  Piece body;
  int64_t count = 0;
  std::atomic<int64_t> next{0};
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
  void Wait(std::condition_variable& condition, const Ready& ready) {
    for (int i = 0; i < spins; ++i) {
      if (ready()) return;
      Pause();
    }
    std::unique_lock lock(mutex);
    condition.wait(lock, ready);
  }

  static void Pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  void Work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      Wait(start, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      RunPieces(thread);
      if (running.fetch_sub(1) == 1) {
        std::lock_guard lock(mutex);  // or the caller could miss the call between its look and its sleep
        finish.notify_one();
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {
  CHECK(threads >= 1);
  for (int t = 1; t < threads; ++t) state_->workers.emplace_back([this, t] { state_->Work(t); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->start.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::Run(int64_t count, Piece body) {
  State& s = *state_;
  if (s.workers.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body.call(body.context, i, 0);
    return;
  }
  {
    std::lock_guard lock(s.mutex);
    s.body = body;
    s.count = count;
    s.next = 0;
    s.error = nullptr;
    s.running = static_cast<int>(s.workers.size());
    ++s.generation;
  }
  s.start.notify_all();
  s.RunPieces(0);
  s.Wait(s.finish, [&] { return s.running == 0; });
  if (s.error) std::rethrow_exception(s.error);
}

int AvailableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace gptq
