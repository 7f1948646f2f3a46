#pragma once
#include <string_view>
#include <vector>
namespace gptq {
struct EmbeddedArchitecture { std::string_view name, text; };
const std::vector<EmbeddedArchitecture>& EmbeddedArchitectures();
}
