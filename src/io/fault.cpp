#include "io/fault.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace gptq {
namespace {

struct Order {
  std::string kind;
  int64_t point = 0;  // 0: none
};

Order ReadOrder() {
  const char* text = std::getenv("GPTQ_FAULT");
  if (text == nullptr) return {};
  const std::string order = text;
  const size_t colon = order.find(':');
  if (colon == std::string::npos) return {};
  return {order.substr(0, colon), std::strtoll(order.c_str() + colon + 1, nullptr, 10)};
}

}  // namespace

Fault NextFault() {
  const Order order = ReadOrder();
  static int64_t points = 0;
  if (order.point == 0 || ++points != order.point) return Fault::kNone;
  if (order.kind == "kill") return Fault::kKill;
  if (order.kind == "full") return Fault::kFullDisk;
  if (order.kind == "interrupt") std::raise(SIGINT);
  if (order.kind == "terminate") std::raise(SIGTERM);
  return Fault::kNone;
}

int Strike(Fault fault) {
  if (fault == Fault::kKill) std::raise(SIGKILL);
  return ENOSPC;
}

}  // namespace gptq
