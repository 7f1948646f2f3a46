#include "quant/hessian.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "quant/matrix.h"

namespace gptq {
namespace {

constexpr int64_t kChunkTokens = 512;

}  // namespace

std::vector<float> HessianView::Diagonal() const {
  std::vector<float> diagonal(static_cast<size_t>(columns));
  for (int64_t i = 0; i < columns; ++i) diagonal[i] = data[i * columns + i];
  return diagonal;
}

bool AllFinite(const HessianView& hessian) {
  for (int64_t i = 0; i < hessian.columns; ++i) {
    if (!AllFinite(ConstMatrix(hessian.data + i * hessian.columns + i, 1, hessian.columns - i))) return false;
  }
  return true;
}

int64_t RepairHessian(Hessian& hessian) {
  if (AllFinite(hessian.view())) return 0;
  const int64_t n = hessian.columns;
  const auto at = [&](int64_t i, int64_t j) -> float& { return hessian.values[i * n + j]; };
  std::vector<uint8_t> bad(static_cast<size_t>(n));
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    bad[i] = !std::isfinite(at(i, i));
    if (!bad[i]) sum += static_cast<double>(at(i, i));
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n; ++j) {
      if (!bad[i] && !bad[j] && !std::isfinite(at(i, j))) bad[i] = bad[j] = 1;
    }
  }
  const int64_t count = std::count(bad.begin(), bad.end(), 1);
  const auto mean = static_cast<float>(sum / static_cast<double>(n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n; ++j) {
      if (bad[i] || bad[j]) at(i, j) = 0;
    }
    if (bad[i]) at(i, i) = mean > 0 ? mean : 1.0f;
  }
  return count;
}

HessianAccumulator::HessianAccumulator(int64_t columns, Backend* backend)
    : columns_(columns), gram_(columns) {
  CHECK(columns >= 0);
  if (backend != nullptr && backend->memory() != nullptr) {
    backend_ = backend;
    backend->Resize(device_sum_, columns, columns);
    backend->Zero(device_sum_.view());
  } else {
    sum_.resize(static_cast<size_t>(columns * columns));
  }
}

void HessianAccumulator::AddOnDevice(MatrixView x, std::span<const float> factors) {
  CHECK(on_device() && x.columns == columns_);
  tokens_ += x.rows;
  backend_->AddGram(x, factors, device_sum_.view());
}

void HessianAccumulator::Add(const float* x, int64_t tokens, int64_t stride, ThreadPool& pool) {
  CHECK(!on_device() && tokens >= 0 && stride >= columns_);
  tokens_ += tokens;
  while (tokens > 0) {
    int64_t taken = tokens / kChunkTokens * kChunkTokens;
    if (pending_ == 0 && taken > 0) {
      gram_.Add(x, taken, stride, sum_.data(), pool);
    } else {
      chunk_.resize(static_cast<size_t>(kChunkTokens * columns_));
      taken = std::min(tokens, kChunkTokens - pending_);
      for (int64_t t = 0; t < taken; ++t) {
        std::copy_n(x + t * stride, columns_, chunk_.data() + (pending_ + t) * columns_);
      }
      pending_ += taken;
      if (pending_ == kChunkTokens) {
        gram_.Add(chunk_.data(), kChunkTokens, columns_, sum_.data(), pool);
        pending_ = 0;
      }
    }
    tokens -= taken;
    x += taken * stride;
  }
}

Hessian HessianAccumulator::Finish(ThreadPool& pool) {
  if (on_device()) {
    sum_.resize(static_cast<size_t>(columns_ * columns_));
    backend_->Copy(device_sum_.view(), {sum_.data(), columns_, columns_});
    device_sum_ = Matrix();
  }
  if (pending_ > 0) gram_.Add(chunk_.data(), pending_, columns_, sum_.data(), pool);
  const float scale = tokens_ > 0 ? static_cast<float>(2.0 / static_cast<double>(tokens_)) : 0.0f;
  pool.ParallelFor(columns_, [&](int64_t i) {
    std::fill_n(sum_.data() + i * columns_, i, 0.0f);
    for (int64_t j = i; j < columns_; ++j) sum_[i * columns_ + j] *= scale;
  });
  chunk_ = {};
  return {columns_, tokens_, std::move(sum_)};
}

}  // namespace gptq
