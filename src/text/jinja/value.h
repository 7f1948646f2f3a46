// The values of a chat template: what Python has, as far as templates use it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gptq {

class JinjaRun;
class JinjaValue;

struct JinjaList {
  std::vector<JinjaValue> items;
};

struct JinjaDict {
  std::vector<std::pair<JinjaValue, JinjaValue>> items;  // in the order of insertion
};

struct JinjaArguments {
  std::vector<JinjaValue> positional;
  std::vector<std::pair<std::string, JinjaValue>> named;
};

struct JinjaFunction {
  std::string name;
  std::function<JinjaValue(JinjaRun& run, const JinjaArguments& arguments)> call;
};

// Small and copied freely. Containers and functions belong to the JinjaRun that made them, and may hold
// themselves (a namespace can), so walk them with JinjaRun::Nested.
class JinjaValue {
 public:
  enum class Kind : uint8_t {
    kUndefined,  // text: the name that has no value
    kNone,
    kBool,
    kInteger,
    kFloat,
    kText,
    kList,
    kTuple,
    kDict,
    kNamespace,  // a dict whose members templates may set
    kFunction
  };

  JinjaValue() = default;  // none
  static JinjaValue Undefined(std::string name);
  static JinjaValue Bool(bool value);
  static JinjaValue Integer(int64_t value);
  static JinjaValue Float(double value);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsDefined() const { return kind_ != Kind::kUndefined; }
  bool IsText() const { return kind_ == Kind::kText; }
  bool IsSequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  bool IsMapping() const { return kind_ == Kind::kDict || kind_ == Kind::kNamespace; }
  bool IsInteger() const { return kind_ == Kind::kInteger || kind_ == Kind::kBool; }  // as in Python
  bool IsNumber() const { return IsInteger() || kind_ == Kind::kFloat; }

  int64_t integer() const { return integer_; }
  double number() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
  const std::string& text() const { return *text_; }
  const std::vector<JinjaValue>& items() const { return list_->items; }  // of a sequence
  JinjaDict& dict() const { return *dict_; }                             // of a mapping
  const JinjaFunction& function() const { return *function_; }

 private:
  friend class JinjaRun;
  explicit JinjaValue(Kind kind) : kind_(kind) {}

  Kind kind_ = Kind::kNone;
  union {
    int64_t integer_ = 0;
    double real_;
    JinjaList* list_;
    JinjaDict* dict_;
    JinjaFunction* function_;
  };
  std::shared_ptr<const std::string> text_;
};

// "int", "str" ... for messages.
std::string_view TypeName(const JinjaValue& value);

bool IsTrue(const JinjaValue& value);
// ==; walks containers.
bool AreEqual(const JinjaValue& a, const JinjaValue& b, JinjaRun& run);
// Whether a < b; fails for values without an order.
bool IsLess(const JinjaValue& a, const JinjaValue& b, JinjaRun& run);
// The value of `key` in a mapping.
const JinjaValue* FindItem(const JinjaValue& mapping, const JinjaValue& key, JinjaRun& run);
const JinjaValue* FindItem(const JinjaValue& mapping, std::string_view key, JinjaRun& run);
void SetItem(const JinjaValue& mapping, const JinjaValue& key, JinjaValue value, JinjaRun& run);
// What a loop over it sees: items, keys, characters; nothing of an undefined value. Fails for the rest.
std::vector<JinjaValue> ToItems(const JinjaValue& value, JinjaRun& run);

}  // namespace gptq
