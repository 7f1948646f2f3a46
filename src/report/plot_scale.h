// From values to places on an axis, and where its marks stand.
#pragma once

#include <vector>

namespace gptq {

class PlotScale {
 public:
  // [low, high] is spread over [from, to]; a little room is left at both ends. `low` <= `high`, finite, and
  // positive if logarithmic.
  PlotScale(double low, double high, bool logarithmic, double from, double to);

  double At(double value) const;
  // Round values inside, about `most` of them.
  std::vector<double> Marks(int most) const;

 private:
  double Inner(double value) const;  // its logarithm on a logarithmic scale

  bool logarithmic_;
  double low_, high_;  // inner ones
  double from_, to_;
};

}  // namespace gptq
