#include "report/plot_scale.h"

#include <algorithm>
#include <cmath>

namespace gptq {

PlotScale::PlotScale(double low, double high, bool logarithmic, double from, double to)
    : logarithmic_(logarithmic), from_(from), to_(to) {
  low_ = Inner(low);
  high_ = Inner(high);
  const double size = std::max(std::abs(low_), std::abs(high_));
  double room = 0.05 * (high_ - low_);
  if (high_ - low_ <= 1e-9 * size || high_ == low_) room = logarithmic ? 0.3 : std::max(0.05 * size, 1e-9);
  low_ -= room;
  high_ += room;
}

double PlotScale::Inner(double value) const { return logarithmic_ ? std::log10(value) : value; }

double PlotScale::At(double value) const {
  return from_ + (Inner(value) - low_) / (high_ - low_) * (to_ - from_);
}

std::vector<double> PlotScale::Marks(int most) const {
  std::vector<double> marks;
  if (logarithmic_ && high_ - low_ > 0.7) {
    // Decades, every n-th where there are many; where there are few, multiples of them, too.
    const double decades = high_ - low_;
    const int every = std::max(1, static_cast<int>(std::ceil(decades / most)));
    std::vector<double> factors{1};
    if (decades <= 2.2) factors = {1, 2, 5};
    if (decades <= 1.1) factors = {1, 1.5, 2, 3, 4, 6, 8};
    for (int power = static_cast<int>(std::floor(low_)); power <= high_; ++power) {
      if (power % every != 0) continue;
      for (const double factor : factors) {
        const double inner = power + std::log10(factor);
        if (inner >= low_ && inner <= high_) marks.push_back(factor * std::pow(10.0, power));
      }
    }
    return marks;
  }
  const double low = logarithmic_ ? std::pow(10.0, low_) : low_;
  const double high = logarithmic_ ? std::pow(10.0, high_) : high_;
  const double least = (high - low) / most, power = std::pow(10.0, std::floor(std::log10(least)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (step >= least) break;
  }
  for (double i = std::ceil(low / step); i * step <= high; ++i) marks.push_back(i * step + 0.0);  // no -0
  return marks;
}

}  // namespace gptq
