// The algorithms of the solver written plainly in float64, to compare with.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "quant/hessian.h"
#include "quant/matrix.h"
#include "quant/options.h"
#include "quant/order.h"

namespace gptq::plain {

using Matrix = std::vector<std::vector<double>>;

inline Matrix Zeros(int64_t rows, int64_t columns) {
  return Matrix(static_cast<size_t>(rows), std::vector<double>(static_cast<size_t>(columns)));
}

// Random weights and the Hessian of correlated inputs.
struct Problem {
  Problem(int64_t rows, int64_t columns, uint32_t seed, int64_t tokens = 200)
      : rows_(rows), columns_(columns) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    weight.resize(static_cast<size_t>(rows * columns));
    for (float& w : weight) w = normal(generator);
    inputs.resize(static_cast<size_t>(tokens * columns));
    for (int64_t t = 0; t < tokens; ++t) {
      const float common = normal(generator);
      for (int64_t c = 0; c < columns; ++c) {
        inputs[t * columns + c] = (normal(generator) + 0.7f * common) * (1.0f + static_cast<float>(c % 5));
      }
    }
    hessian.resize(static_cast<size_t>(columns * columns));
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; ++t)
          sum += double{inputs[t * columns + i]} * double{inputs[t * columns + j]};
        hessian[i * columns + j] = static_cast<float>(2 * sum / static_cast<double>(tokens));
      }
    }
  }
  void Kill(int64_t column) {
    for (int64_t i = 0; i < columns_; ++i)
      hessian[i * columns_ + column] = hessian[column * columns_ + i] = 0;
  }
  ConstMatrixView weights() const { return gptq::ConstMatrix(weight.data(), rows_, columns_); }
  HessianView hessians() const { return {hessian.data(), columns_}; }

  int64_t rows_, columns_;
  std::vector<float> weight, inputs, hessian;
};

// H + lambda I in the order's positions; dead inputs have 1 on the diagonal.
inline Matrix Damped(const HessianView& hessian, const ColumnOrder& order, double damping) {
  const int64_t n = hessian.columns;
  Matrix h = Zeros(n, n);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) h[i][j] = double{hessian.at(order.columns[i], order.columns[j])};
    if (h[i][i] == 0) h[i][i] = 1;
    mean += h[i][i] / static_cast<double>(n);
  }
  for (int64_t i = 0; i < n; ++i) h[i][i] += damping * mean;
  return h;
}

// Gauss-Jordan.
inline Matrix Inverse(Matrix a) {
  const size_t n = a.size();
  Matrix inverse = Zeros(static_cast<int64_t>(n), static_cast<int64_t>(n));
  for (size_t i = 0; i < n; ++i) inverse[i][i] = 1;
  for (size_t p = 0; p < n; ++p) {
    const double pivot = a[p][p];
    for (size_t j = 0; j < n; ++j) {
      a[p][j] /= pivot;
      inverse[p][j] /= pivot;
    }
    for (size_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double factor = a[i][p];
      for (size_t j = 0; j < n; ++j) {
        a[i][j] -= factor * a[p][j];
        inverse[i][j] -= factor * inverse[p][j];
      }
    }
  }
  return inverse;
}

// Upper U with UᵀU = a.
inline Matrix UpperCholesky(const Matrix& a) {
  const size_t n = a.size();
  Matrix u = Zeros(static_cast<int64_t>(n), static_cast<int64_t>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) {
      double sum = a[i][j];
      for (size_t k = 0; k < i; ++k) sum -= u[k][i] * u[k][j];
      u[i][j] = i == j ? std::sqrt(sum) : sum / u[i][i];
    }
  }
  return u;
}

struct RowGrid {
  double scale = 1, zero = 0, maximum_code = 15;
  double Round(double w) const {
    return scale * (std::clamp(std::nearbyint(w / scale) + zero, 0.0, maximum_code) - zero);
  }
};

// Minimum and maximum of w[begin, end), the scale rounded to float32.
inline RowGrid MinMax(const SolverOptions& options, const std::vector<double>& w, int64_t begin,
                      int64_t end) {
  double low = 0, high = 0;
  for (int64_t c = begin; c < end; ++c) {
    low = std::min(low, w[c]);
    high = std::max(high, w[c]);
  }
  if (options.symmetric) {
    high = std::max(-low, high);
    if (low < 0) low = -high;
  }
  if (low == 0 && high == 0) {
    low = -1;
    high = 1;
  }
  RowGrid grid;
  grid.maximum_code = options.maximum_code();
  grid.scale = double{static_cast<float>((high - low) / grid.maximum_code)};
  grid.zero = options.symmetric ? (grid.maximum_code + 1) / 2 : std::nearbyint(-low / grid.scale);
  return grid;
}

struct Solution {
  Matrix quantized;  // [rows][columns], in the order's positions
  double loss = 0;
};

inline Matrix PermutedWeight(const Problem& problem, const ColumnOrder& order) {
  Matrix w = Zeros(problem.rows_, problem.columns_);
  for (int64_t r = 0; r < problem.rows_; ++r) {
    for (int64_t p = 0; p < problem.columns_; ++p) {
      const int32_t c = order.columns[p];
      w[r][p] = problem.hessian[c * problem.columns_ + c] == 0
                    ? 0.0
                    : double{problem.weight[r * problem.columns_ + c]};
    }
  }
  return w;
}

// Algorithm 1 with blocks of `block` columns; block = 1 is the plain loop. Groups are runs of `group`
// positions; grids as options.group_grid says, relative to options.block_size.
inline Solution Blocked(const Problem& problem, const ColumnOrder& order, const SolverOptions& options,
                        int64_t block) {
  const int64_t n = problem.columns_, group = options.GroupColumns(n);
  const Matrix u = UpperCholesky(Inverse(Damped(problem.hessians(), order, options.damping)));
  Solution solution{PermutedWeight(problem, order), 0};
  for (std::vector<double>& w : solution.quantized) {
    std::vector<double> q(w.size()), pending(w.size()), stale = w;
    RowGrid grid;
    for (int64_t begin = 0; begin < n; begin += block) {
      const int64_t end = std::min(begin + block, n);
      std::vector<double> error(static_cast<size_t>(end - begin));
      for (int64_t j = begin; j < end; ++j) {
        if (options.group_grid == GroupGrid::kReference && j % options.block_size == 0) stale = w;
        if (j % group == 0) {
          // With blocks, the later columns lack the updates of this block: add them for the grid.
          std::vector<double> now = w;
          for (int64_t k = end; k < n; ++k) {
            for (int64_t i = begin; i < j; ++i) now[k] -= error[i - begin] * u[i][k];
          }
          const bool reference = options.group_grid == GroupGrid::kReference;
          grid = MinMax(options, reference ? stale : now, j, std::min(j + group, n));
        }
        q[j] = grid.Round(w[j]);
        error[j - begin] = (w[j] - q[j]) / u[j][j];
        solution.loss += error[j - begin] * error[j - begin];
        for (int64_t k = j; k < end; ++k) w[k] -= error[j - begin] * u[j][k];
      }
      for (int64_t k = end; k < n; ++k) {
        for (int64_t i = begin; i < end; ++i) w[k] -= error[i - begin] * u[i][k];
      }
    }
    w = q;
  }
  return solution;
}

// Optimal Brain Quantization in the given order: H⁻¹ is downdated after every column.
inline Solution FixedOrderObq(const Problem& problem, const ColumnOrder& order,
                              const SolverOptions& options) {
  const int64_t n = problem.columns_, group = options.GroupColumns(n);
  Solution solution{PermutedWeight(problem, order), 0};
  for (std::vector<double>& w : solution.quantized) {
    Matrix inverse = Inverse(Damped(problem.hessians(), order, options.damping));
    RowGrid grid;
    for (int64_t q = 0; q < n; ++q) {
      if (q % group == 0) grid = MinMax(options, w, q, std::min(q + group, n));
      const double rounded = grid.Round(w[q]), pivot = inverse[q][q], step = (w[q] - rounded) / pivot;
      solution.loss += (w[q] - rounded) * step;
      for (int64_t k = q + 1; k < n; ++k) w[k] -= step * inverse[q][k];
      w[q] = rounded;
      const Matrix before = inverse;
      for (int64_t i = q; i < n; ++i) {
        for (int64_t j = q; j < n; ++j) inverse[i][j] -= before[i][q] * before[q][j] / pivot;
      }
    }
  }
  return solution;
}

// LDLQ (arXiv 2307.13304): H = (V + I) D (V + I)ᵀ, V strictly upper; each column is rounded after adding the
// feedback of all errors made before it. Whole-row grids.
inline Solution Ldlq(const Problem& problem, const ColumnOrder& order, const SolverOptions& options) {
  const int64_t n = problem.columns_;
  Matrix h = Damped(problem.hessians(), order, options.damping);
  Matrix v = Zeros(n, n);
  for (int64_t k = n - 1; k >= 0; --k) {
    for (int64_t i = 0; i < k; ++i) v[i][k] = h[i][k] / h[k][k];
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) h[i][j] -= v[i][k] * v[j][k] * h[k][k];
    }
  }
  Solution solution{PermutedWeight(problem, order), 0};
  for (std::vector<double>& w : solution.quantized) {
    const RowGrid grid = MinMax(options, w, 0, n);
    std::vector<double> q(w.size());
    for (int64_t k = 0; k < n; ++k) {
      double corrected = w[k];
      for (int64_t i = 0; i < k; ++i) corrected += (w[i] - q[i]) * v[i][k];
      q[k] = grid.Round(corrected);
    }
    w = q;
  }
  return solution;
}

}  // namespace gptq::plain
