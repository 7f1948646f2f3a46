#include "cli/console_progress.h"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>

#include "base/error.h"

namespace gptq {
namespace {

using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t interrupted = 0;

void OnSignal(int signal) {
  interrupted = 1;
  std::signal(signal, SIG_DFL);
}

void CheckInterrupted() {
  if (interrupted != 0) throw Interrupted("nothing was written; the same command begins again");
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string Duration(double seconds) {
  const auto total = static_cast<int64_t>(seconds + 0.5);
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof(text), "%d:%02d:%02d", static_cast<int>(total / 3600),
                  static_cast<int>(total / 60 % 60), static_cast<int>(total % 60));
  } else {
    std::snprintf(text, sizeof(text), "%d:%02d", static_cast<int>(total / 60), static_cast<int>(total % 60));
  }
  return text;
}

// Of steps: "12.3/s", "4.5 s each".
std::string Rate(double steps, double seconds) {
  char text[32];
  if (steps >= seconds) {
    std::snprintf(text, sizeof(text), "%.1f/s", steps / seconds);
  } else {
    std::snprintf(text, sizeof(text), "%.1f s each", seconds / steps);
  }
  return text;
}

class ConsoleProgress : public Progress {
 public:
  ConsoleProgress(bool quiet, bool terminal) : quiet_(quiet), terminal_(terminal) {}
  ~ConsoleProgress() override {
    const bool finished = done_ == steps_;
    if (!finished && terminal_ && !quiet_ && !name_.empty()) std::fprintf(stderr, "\r\033[K");
    if (finished) EndStage();
  }

  void Stage(std::string_view name, int64_t steps) override {
    CheckInterrupted();
    EndStage();
    name_ = name;
    steps_ = steps;
    done_ = 0;
    start_ = drawn_ = Clock::now();
    Draw();
  }

  void Step(int64_t done) override {
    CheckInterrupted();
    done_ = done;
    if (SecondsSince(drawn_) < 0.1 && done < steps_) return;
    drawn_ = Clock::now();
    Draw();
  }

  void Note(std::string_view message) override { Line("note: ", message, !quiet_); }
  void Warn(std::string_view message) override { Line("warning: ", message, true); }

 private:
  void Line(const char* kind, std::string_view message, bool show) {
    if (!show) return;
    if (terminal_ && !name_.empty()) std::fprintf(stderr, "\r\033[K");
    std::fprintf(stderr, "gptq: %s%.*s\n", kind, static_cast<int>(message.size()), message.data());
  }

  void Draw() const {
    if (quiet_ || !terminal_ || steps_ <= 0) return;
    constexpr int kWidth = 30;
    const double share = static_cast<double>(done_) / static_cast<double>(steps_);
    const int filled = static_cast<int>(share * kWidth);
    std::string bar(static_cast<size_t>(kWidth), '.');
    for (int i = 0; i < filled; ++i) bar[static_cast<size_t>(i)] = '#';
    const double seconds = SecondsSince(start_);
    const std::string time = done_ == 0 ? ""
                                        : Rate(static_cast<double>(done_), seconds) + ", " +
                                              Duration(seconds * (1 / share - 1)) + " left";
    std::fprintf(stderr, "\r\033[K%-12s [%s] %lld/%lld  %s", name_.c_str(), bar.c_str(),
                 static_cast<long long>(done_), static_cast<long long>(steps_), time.c_str());
  }

  void EndStage() {
    if (name_.empty() || quiet_) return;
    std::fprintf(stderr, "%s%-12s %lld/%lld in %.1f s\n", terminal_ ? "\r\033[K" : "", name_.c_str(),
                 static_cast<long long>(done_), static_cast<long long>(steps_), SecondsSince(start_));
    name_.clear();
  }

  bool quiet_;
  bool terminal_;
  std::string name_;
  int64_t steps_ = 0;
  int64_t done_ = 0;
  Clock::time_point start_, drawn_;
};

}  // namespace

std::unique_ptr<Progress> MakeConsoleProgress(bool quiet) {
  return std::make_unique<ConsoleProgress>(quiet, isatty(STDERR_FILENO) == 1);
}

void CatchInterrupts() {
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit then shows as a failed write, like a full disk
}

}  // namespace gptq
