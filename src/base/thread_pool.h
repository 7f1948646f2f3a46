// A fixed set of threads that run the pieces of one loop. What a piece computes must not depend on who runs
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace gptq {

class ThreadPool {
 public:
  // `threads` >= 1 in all, the calling one included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;
  // Calls body(i) once for every i in [0, count), in any order, from any of the threads; returns when all are
  // done. The first exception of a body is thrown here. Not reentrant: a body must not call ParallelFor.
  void ParallelFor(int64_t count, const std::function<void(int64_t)>& body);
  // The same, and tells the body which thread runs it: 0 .. threads() - 1 (for scratch memory).
  void ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Cores this process may use.
int AvailableCores();

}  // namespace gptq
