// What is said about many measured values.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace gptq {

// All sums go in the order of the values. NaN where there are none.
double Mean(std::span<const double> values);
// Of the mean, from the spread of the values taken as independent; 0 for fewer than two.
double StandardError(std::span<const double> values);
// The nearest-rank rule: the smallest value that at least `fraction` (0 < fraction <= 1) of all do not
// exceed.
double Quantile(std::vector<double> values, double fraction);

// Runs of characters other than ASCII white space.
int64_t CountWords(std::string_view text);

}  // namespace gptq
