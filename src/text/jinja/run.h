// One rendering: what it may spend, the values that it makes, and where it stands.
#pragma once

#include <cstdint>
#include <ctime>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/ordered_json.h"
#include "text/jinja/value.h"

namespace gptq {

// Templates come with models, so they are no more trusted than models are.
struct JinjaLimits {
  int64_t steps = 5'000'000;                // evaluated expressions, compared values and the like
  int64_t bytes = int64_t{1} << 28;         // of all values that are ever made
  int64_t output_bytes = int64_t{1} << 26;  // of the result
  int nesting = 400;                        // of expressions, statements and macros that call each other
};

class JinjaRun {
 public:
  JinjaRun(std::string_view where, const JinjaLimits& limits, const std::tm& now)
      : where_(where), limits_(limits), now_(now) {}

  // Throws Error naming the template and the current line.
  [[noreturn]] void Fail(std::string_view what,
                         std::string_view what_to_do = "correct the template or give another one") const;
  // Throws when the limits are reached.
  void Step(int64_t count = 1) {
    if (count > limits_.steps - steps_) FailForGood("steps");
    steps_ += count;
  }
  void SpendBytes(int64_t count) {
    if (count > limits_.bytes - bytes_) FailForGood("bytes of values");
    bytes_ += count;
  }
  void CheckOutput(size_t size) const {
    if (static_cast<int64_t>(size) > limits_.output_bytes) FailForGood("bytes of text");
  }

  // One more level of nesting as long as it lives.
  class Nested {
   public:
    explicit Nested(JinjaRun& run) : run_(run) {
      if (++run.nesting_ > run.limits_.nesting) {
        --run.nesting_;
        run.FailForGood("levels of nesting");
      }
    }
    ~Nested() { --run_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    JinjaRun& run_;
  };

  JinjaValue Text(std::string text);
  JinjaValue List(std::vector<JinjaValue> items);
  JinjaValue Tuple(std::vector<JinjaValue> items);
  JinjaValue Dict(std::vector<std::pair<JinjaValue, JinjaValue>> items = {});
  JinjaValue Namespace();
  JinjaValue Function(std::string name,
                      std::function<JinjaValue(JinjaRun& run, const JinjaArguments& arguments)> call);
  JinjaValue FromJson(const OrderedJson& json);

  const std::tm& now() const { return now_; }
  int line = 1;  // of the template, for messages

 private:
  [[noreturn]] void FailForGood(std::string_view what) const;

  std::string where_;
  JinjaLimits limits_;
  std::tm now_;
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
  int nesting_ = 0;
  std::deque<JinjaList> lists_;
  std::deque<JinjaDict> dicts_;
  std::deque<JinjaFunction> functions_;
};

}  // namespace gptq
