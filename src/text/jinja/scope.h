// The names that statements see: those of their own scope, then those of the scopes around it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace gptq {

class JinjaScope;
using JinjaScopePtr = std::shared_ptr<JinjaScope>;  // macros keep the scope that they were defined in

class JinjaScope {
 public:
  explicit JinjaScope(JinjaScopePtr outer = nullptr) : outer_(std::move(outer)) {}

  const JinjaValue* Find(std::string_view name) const {
    for (const JinjaScope* scope = this; scope != nullptr; scope = scope->outer_.get()) {
      for (const auto& [known, value] : scope->names_) {
        if (known == name) return &value;
      }
    }
    return nullptr;
  }
  void Set(const std::string& name, JinjaValue value) {
    for (auto& [known, old] : names_) {
      if (known != name) continue;
      old = std::move(value);
      return;
    }
    names_.emplace_back(name, std::move(value));
  }

 private:
  JinjaScopePtr outer_;
  std::vector<std::pair<std::string, JinjaValue>> names_;
};

}  // namespace gptq
