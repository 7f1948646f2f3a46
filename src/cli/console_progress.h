// Progress on standard error: a bar with rate and remaining time on a terminal, else a line per stage.
#pragma once

#include <memory>

#include "base/progress.h"

namespace gptq {

// Its calls throw Interrupted once the user has pressed Ctrl-C (see CatchInterrupts).
std::unique_ptr<Progress> MakeConsoleProgress(bool quiet);

// From now on SIGINT and SIGTERM end the work at the next report of progress; a second one ends it at once.
void CatchInterrupts();

}  // namespace gptq
