// A fixed set of threads that run the pieces of one loop. What a piece computes must not depend on who runs
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace gptq {

class ThreadPool {
 public:
  // `threads` >= 1 in all, the calling one included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;
  // Calls body(i), or body(i, thread) with the thread that runs it, 0 .. threads() - 1 (for scratch memory),
  // once for every i in [0, count), in any order, from any of the threads; returns when all are done. The
  // first exception of a body is thrown here. Not reentrant: a body must not call ParallelFor. Allocates
  // nothing.
  template <typename Body>
  void ParallelFor(int64_t count, const Body& body) {
    Run(count, {&body, [](const void* context, int64_t i, int thread) {
                  const Body& piece = *static_cast<const Body*>(context);
                  if constexpr (std::is_invocable_v<const Body&, int64_t, int>) {
                    piece(i, thread);
                  } else {
                    piece(i);
                  }
                }});
  }

 private:
  struct Piece {  // a borrowed function
    const void* context = nullptr;
    void (*call)(const void* context, int64_t i, int thread) = nullptr;
  };
  struct State;
  void Run(int64_t count, Piece body);

  std::unique_ptr<State> state_;
};

// Cores this process may use.
int AvailableCores();

}  // namespace gptq
