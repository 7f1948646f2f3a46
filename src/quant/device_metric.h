// The solver where a backend has one of its own.
#pragma once

#include <memory>
#include <string_view>

#include "compute/backend.h"
#include "quant/solve_matrix.h"

namespace gptq {

// What linears of one input share: H and its factor, with the backend.
class DeviceMetric {
 public:
  virtual ~DeviceMetric() = default;
  virtual bool Supports(const SolverOptions& options) const = 0;
  // As SolveMatrix (quant/solve_matrix.h), with options that are supported; throws DeviceMemoryError, too.
  virtual MatrixSolution Solve(const ConstMatrixView& weight, Method method, const SolverOptions& options,
                               std::string_view name, ThreadPool& pool) = 0;
};

// Null where the backend has no solver, or none for these options. Throws what FactorForOptions does, and
// DeviceMemoryError.
std::unique_ptr<DeviceMetric> MakeDeviceMetric(Backend& backend, const HessianView& hessian,
                                               const SolverOptions& options, std::string_view name);

}  // namespace gptq
