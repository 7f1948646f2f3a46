#include "quant/order.h"

#include <numeric>

#include "tests/quant/plain_solver.h"
#include "tests/test_util.h"

namespace gptq {
namespace order_test {

using Columns = std::vector<int32_t>;

SolverOptions Options(Order order, int64_t group_size) {
  SolverOptions options;
  options.order = order;
  options.group_size = group_size;
  return options;
}

TEST(Order, NaturalIsAsGiven) {
  const ColumnOrder order = MakeOrder(Options(Order::kNatural, 2), std::vector<float>{1, 5, 3, 2, 4});
  EXPECT_EQ(order.columns, (Columns{0, 1, 2, 3, 4}));
  EXPECT_EQ(order.group_index, (Columns{0, 0, 1, 1, 2}));
  EXPECT_EQ(order.groups, 3);
}

TEST(Order, ActivationFallsAndKeepsTies) {
  const std::vector<float> diagonal = {2, 5, 2, 0, 7};  // the dead input counts as 1
  ColumnOrder order = MakeOrder(Options(Order::kActivation, 2), diagonal);
  EXPECT_EQ(order.columns, (Columns{4, 1, 0, 2, 3}));
  EXPECT_EQ(order.group_index, (Columns{1, 0, 1, 2, 0}));
  EXPECT_TRUE(order.contiguous);

  SolverOptions options = Options(Order::kActivation, 2);
  options.static_groups = true;
  order = MakeOrder(options, diagonal);
  EXPECT_EQ(order.columns, (Columns{4, 1, 0, 2, 3}));
  EXPECT_EQ(order.group_index, (Columns{0, 0, 1, 1, 2}));
  EXPECT_FALSE(order.contiguous);
}

TEST(Order, GroupAwareKeepsGroupsTogether) {
  const ColumnOrder order = MakeOrder(Options(Order::kGroup, 3), std::vector<float>{1, 2, 1, 4, 0, 9, 5, 6});
  EXPECT_EQ(order.columns, (Columns{5, 3, 4, 7, 6, 1, 0, 2}));
  EXPECT_EQ(order.group_index, (Columns{0, 0, 0, 1, 1, 1, 2, 2}));
}

TEST(Order, GroupAwareOfOneGroupFalls) {
  const ColumnOrder order = MakeOrder(Options(Order::kGroup, -1), std::vector<float>{1, 3, 2});
  EXPECT_EQ(order.columns, (Columns{1, 2, 0}));
  EXPECT_EQ(order.groups, 1);
}

TEST(Order, PivotRanksTakeTheLeastPivotLast) {
  const plain::Problem problem(1, 20, 51);
  const std::vector<float> ranks = PivotRanks(problem.hessians(), 0.01);
  plain::Matrix h = plain::Damped(problem.hessians(), NaturalOrder({}, 20), 0.01);
  std::vector<int> left(20);
  std::iota(left.begin(), left.end(), 0);
  for (int rank = 1; !left.empty(); ++rank) {
    const auto least =
        std::min_element(left.begin(), left.end(), [&](int a, int b) { return h[a][a] < h[b][b]; });
    const int p = *least;
    EXPECT_EQ(ranks[p], static_cast<float>(rank));
    left.erase(least);
    const plain::Matrix before = h;
    for (const int i : left) {
      for (const int j : left) h[i][j] -= before[i][p] * before[p][j] / before[p][p];
    }
  }
}

}  // namespace order_test
}  // namespace gptq
