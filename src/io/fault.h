// Faults for tests: a full disk, a kill or an interrupt exactly where the state on disk is about to change.
#pragma once

namespace gptq {

enum class Fault { kNone, kFullDisk, kKill };

// Counts the points of this process at which a file is made, reserved, written, synchronized, renamed or
// deleted. With the environment variable GPTQ_FAULT=KIND:N the N-th of them is struck: `full` (that point
// alone fails as on a full disk), `kill`; `interrupt` and `terminate` raise SIGINT and SIGTERM here and
// return kNone. Calls come from one thread at a time.
[[nodiscard]] Fault NextFault();

// Ends the process for kKill, else returns the error number.
int Strike(Fault fault);

// For points without a half-way: 0, or the error number of a fault.
inline int FaultHere() {
  const Fault fault = NextFault();
  return fault == Fault::kNone ? 0 : Strike(fault);
}

}  // namespace gptq
