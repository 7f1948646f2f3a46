#include "text/jinja/value.h"

#include <algorithm>

#include "text/jinja/run.h"
#include "text/unicode.h"

namespace gptq {

using Kind = JinjaValue::Kind;

JinjaValue JinjaValue::Undefined(std::string name) {
  JinjaValue value(Kind::kUndefined);
  value.text_ = std::make_shared<const std::string>(std::move(name));
  return value;
}

JinjaValue JinjaValue::Bool(bool boolean) {
  JinjaValue value(Kind::kBool);
  value.integer_ = boolean;
  return value;
}

JinjaValue JinjaValue::Integer(int64_t integer) {
  JinjaValue value(Kind::kInteger);
  value.integer_ = integer;
  return value;
}

JinjaValue JinjaValue::Float(double number) {
  JinjaValue value(Kind::kFloat);
  value.real_ = number;
  return value;
}

std::string_view TypeName(const JinjaValue& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "undefined value";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "bool";
    case Kind::kInteger:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kText:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kFunction:
      return "function";
  }
  return "value";
}

bool IsTrue(const JinjaValue& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInteger:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    case Kind::kText:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.items().empty();
    case Kind::kDict:
      return !value.dict().items.empty();
    case Kind::kNamespace:
    case Kind::kFunction:
      return true;
  }
  return true;
}

bool AreEqual(const JinjaValue& a, const JinjaValue& b, JinjaRun& run) {
  run.Step();
  if (a.IsNumber() && b.IsNumber()) {
    return a.IsInteger() && b.IsInteger() ? a.integer() == b.integer() : a.number() == b.number();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kText:
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple: {
      const JinjaRun::Nested nested(run);
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        [&](const JinjaValue& x, const JinjaValue& y) { return AreEqual(x, y, run); });
    }
    case Kind::kDict: {
      const JinjaRun::Nested nested(run);
      if (a.dict().items.size() != b.dict().items.size()) return false;
      return std::ranges::all_of(a.dict().items, [&](const auto& item) {
        const JinjaValue* other = FindItem(b, item.first, run);
        return other != nullptr && AreEqual(item.second, *other, run);
      });
    }
    case Kind::kNamespace:
      return &a.dict() == &b.dict();
    default:
      return &a.function() == &b.function();
  }
}

bool IsLess(const JinjaValue& a, const JinjaValue& b, JinjaRun& run) {
  run.Step();
  if (a.IsInteger() && b.IsInteger()) return a.integer() < b.integer();
  if (a.IsNumber() && b.IsNumber()) return a.number() < b.number();
  if (a.IsText() && b.IsText()) return a.text() < b.text();  // UTF-8 sorts as its code points do
  if (a.IsSequence() && a.kind() == b.kind()) {
    const JinjaRun::Nested nested(run);
    const size_t both = std::min(a.items().size(), b.items().size());
    for (size_t i = 0; i < both; ++i) {
      if (!AreEqual(a.items()[i], b.items()[i], run)) return IsLess(a.items()[i], b.items()[i], run);
    }
    return a.items().size() < b.items().size();
  }
  run.Fail(Concat("there is no order between ", TypeName(a), " and ", TypeName(b)));
}

const JinjaValue* FindItem(const JinjaValue& mapping, const JinjaValue& key, JinjaRun& run) {
  if (key.IsText()) return FindItem(mapping, key.text(), run);
  for (const auto& [name, value] : mapping.dict().items) {
    if (AreEqual(name, key, run)) return &value;
  }
  return nullptr;
}

const JinjaValue* FindItem(const JinjaValue& mapping, std::string_view key, JinjaRun& run) {
  const auto& items = mapping.dict().items;
  run.Step(static_cast<int64_t>(items.size() / 16));
  for (const auto& [name, value] : items) {
    if (name.IsText() && name.text() == key) return &value;
  }
  return nullptr;
}

void SetItem(const JinjaValue& mapping, const JinjaValue& key, JinjaValue value, JinjaRun& run) {
  if (const JinjaValue* found = FindItem(mapping, key, run)) {
    *const_cast<JinjaValue*>(found) = std::move(value);
  } else {
    run.SpendBytes(2 * sizeof(JinjaValue));
    mapping.dict().items.emplace_back(key, std::move(value));
  }
}

std::vector<JinjaValue> ToItems(const JinjaValue& value, JinjaRun& run) {
  std::vector<JinjaValue> items;
  if (value.IsSequence()) {
    items = value.items();
  } else if (value.IsMapping()) {
    for (const auto& [key, unused] : value.dict().items) items.push_back(key);
  } else if (value.IsText()) {
    const std::string& text = value.text();
    for (size_t at = 0; at < text.size();) {
      const size_t size = DecodeUtf8(text, at).size;
      items.push_back(run.Text(text.substr(at, size)));
      at += size;
    }
  } else if (value.IsDefined()) {
    run.Fail(Concat("a ", TypeName(value), " has no items"));
  }
  run.SpendBytes(static_cast<int64_t>(items.size() * sizeof(JinjaValue)));
  return items;
}

}  // namespace gptq
