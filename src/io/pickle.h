// Python's pickles, read as data: what a pickle would call is noted, never done.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gptq {

// One Python value. Values may hold each other in circles, so walk them to a fixed depth only.
struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,        // integer
    kInteger,     // integer
    kBigInteger,  // text: its bytes, little-endian two's complement
    kFloat,       // real
    kText,        // text
    kBytes,       // text
    kTuple,       // items
    kList,        // items
    kDict,        // items: key, value, key, value ...
    kGlobal,      // module and text: a class or function, by name
    kCall,        // callee(arguments), and items set on the result as in a dict
    kPersistent,  // arguments: the id of something stored outside of the pickle
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  double real = 0;
  std::string_view text;
  std::string_view module;
  const PickleValue* callee = nullptr;
  const PickleValue* arguments = nullptr;
  std::vector<const PickleValue*> items;

  bool IsGlobal(std::string_view a_module, std::string_view name) const {
    return kind == Kind::kGlobal && module == a_module && text == name;
  }
};

// Immutable; its texts are views of the bytes that it was read from.
class Pickle {
 public:
  // Whether a class or function may be named.
  using Allowed = std::function<bool(std::string_view module, std::string_view name)>;

  // Reads one pickle (protocols 2 to 5) from the start of `bytes`. Throws Error naming `where` for what is
  // damaged, too large, or names something that is not allowed.
  static Pickle Parse(std::string_view bytes, const Allowed& allowed, std::string_view where);

  const PickleValue& root() const { return *root_; }
  const std::deque<PickleValue>& values() const { return values_; }  // all, in the order of their making
  size_t size() const { return size_; }                              // bytes that it took

 private:
  friend class PickleParser;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
  size_t size_ = 0;
};

}  // namespace gptq
