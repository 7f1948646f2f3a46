// What long work tells its caller. Library code reports; the command line draws.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gptq {

// Calls come from one thread at a time.
class Progress {
 public:
  virtual ~Progress() = default;
  // A stage of `steps` steps begins (the previous one ends).
  virtual void Stage(std::string_view name, int64_t steps) = 0;
  virtual void Step(int64_t done) = 0;  // `done` steps of the stage are finished
  virtual void Note(std::string_view message) = 0;
  virtual void Warn(std::string_view message) = 0;
};

// Tells nobody.
class SilentProgress : public Progress {
 public:
  void Stage(std::string_view, int64_t) override {}
  void Step(int64_t) override {}
  void Note(std::string_view) override {}
  void Warn(std::string_view) override {}
};

}  // namespace gptq
