#include "model/expert_layer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/mlp_layer.h"

namespace gptq {
namespace {

enum ExpertSlot : int { kSum, kTokens, kHidden, kHidden2, kHidden3, kOutput };

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<double> Scores(const ExpertSpec& spec, std::span<const float> outputs) {
  std::vector<double> scores(outputs.begin(), outputs.end());
  if (spec.sigmoid) {
    for (double& score : scores) score = Sigmoid(score);
    return scores;
  }
  const double greatest = *std::ranges::max_element(scores);
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - greatest);
  for (double& score : scores) score /= sum;
  return scores;
}

// Indices of the `count` largest values, largest first, of equal ones the first.
std::vector<int32_t> Largest(std::span<const double> values, int64_t count) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

// Experts outside of the best groups can not be chosen.
void LimitToGroups(const ExpertSpec& spec, std::vector<double>& choice) {
  const int64_t size = spec.experts / spec.groups;
  std::vector<double> groups;
  for (int64_t group = 0; group < spec.groups; ++group) {
    const auto members =
        std::span(choice).subspan(static_cast<size_t>(group * size), static_cast<size_t>(size));
    const std::vector<int32_t> best = Largest(members, spec.group_by_two ? 2 : 1);
    double score = 0;
    for (const int32_t member : best) score += members[static_cast<size_t>(member)];
    groups.push_back(score);
  }
  std::vector<bool> kept(groups.size());
  for (const int32_t group : Largest(groups, spec.groups_per_token)) kept[static_cast<size_t>(group)] = true;
  for (size_t expert = 0; expert < choice.size(); ++expert) {
    if (!kept[expert / static_cast<size_t>(size)]) choice[expert] = -INFINITY;
  }
}

}  // namespace

Choice ChooseExperts(const ExpertSpec& spec, std::span<const float> router_outputs,
                     std::span<const float> choice_bias) {
  const std::vector<double> scores = Scores(spec, router_outputs);
  std::vector<double> choice = scores;
  for (size_t i = 0; i < choice_bias.size(); ++i) choice[i] += static_cast<double>(choice_bias[i]);
  if (spec.groups > 1) LimitToGroups(spec, choice);
  Choice result{Largest(choice, spec.per_token), {}};
  double sum = 0;
  for (const int32_t expert : result.experts) sum += scores[static_cast<size_t>(expert)];
  for (const int32_t expert : result.experts) {
    double factor = scores[static_cast<size_t>(expert)];
    if (spec.normalized) factor /= sum + 1e-20;
    result.factors.push_back(static_cast<float>(factor * spec.scale));
  }
  return result;
}

ExpertLayer::ExpertLayer(const ModelSpec& spec, int64_t index, WeightSource& source,
                         std::vector<Stage>& stages)
    : spec_(spec) {
  const ExpertSpec& experts = spec.experts;
  const std::string router = spec.Name("router", index);
  router_ = source.Matrix(router, experts.experts, spec.hidden);
  router_bias_ = source.FindVector(router, "bias", experts.experts).value_or(std::vector<float>{});
  if (spec.Has("router_choice_bias")) {
    const std::string name = spec.Name("router_choice_bias", index);
    const size_t dot = name.rfind('.');
    choice_bias_ = source.Vector(name.substr(0, dot), name.substr(dot + 1), experts.experts);
  }
  Stage input, output;
  input.name = "mlp_input";
  output.name = "mlp_output";
  output.adds_to_hidden = true;
  for (int64_t expert = 0; expert < experts.experts; ++expert)
    AddMlp(spec, source, kExpertRoles, index, experts.intermediate, expert, input, output);
  if (experts.shared_intermediate > 0) {
    AddMlp(spec, source, kSharedExpertRoles, index, experts.shared_intermediate, -1, input, output);
    if (spec.Has("shared_expert_router"))
      shared_gate_ = source.Matrix(spec.Name("shared_expert_router", index), 1, spec.hidden);
  }
  stages.push_back(std::move(input));
  stages.push_back(std::move(output));
}

std::vector<ExpertTokens> ExpertLayer::Route(Backend& backend, MatrixView x) const {
  const int64_t count = spec_.experts.experts;
  const MatrixView outputs = backend.Scratch(kHidden, x.rows, count);
  backend.Linear(x, router_, router_bias_, outputs);
  Matrix copy;
  const float* const readable = backend.Readable(outputs, copy).data;
  std::vector<ExpertTokens> tokens(static_cast<size_t>(count));
  for (int64_t row = 0; row < x.rows; ++row) {
    const std::span<const float> scores(readable + row * count, static_cast<size_t>(count));
    const Choice choice = ChooseExperts(spec_.experts, scores, choice_bias_);
    for (size_t i = 0; i < choice.experts.size(); ++i) {
      ExpertTokens& expert = tokens[static_cast<size_t>(choice.experts[i])];
      expert.rows.push_back(static_cast<int32_t>(row));
      expert.factors.push_back(choice.factors[i]);
    }
  }
  return tokens;
}

MatrixView ExpertLayer::GroupInput(Backend& backend, const Stage& input, size_t group, bool output_stage,
                                   MatrixView x, const std::vector<int32_t>* rows) const {
  if (rows != nullptr) {
    const MatrixView chosen = backend.Scratch(kTokens, static_cast<int64_t>(rows->size()), x.columns);
    backend.GatherRows(x, *rows, chosen);
    x = chosen;
  }
  if (!output_stage || x.rows == 0) return x;
  const LinearGroup& linears = input.groups[group];
  return MlpHidden(backend, spec_, std::span(input.linears).subspan(linears.first, linears.count), x,
                   kHidden);
}

MatrixView ExpertLayer::Run(Backend& backend, const Stage& input, const Stage& output, MatrixView x) const {
  std::vector<ExpertTokens> tokens = Route(backend, x);
  if (spec_.experts.shared_intermediate > 0) {
    ExpertTokens all{std::vector<int32_t>(static_cast<size_t>(x.rows)),
                     std::vector<float>(static_cast<size_t>(x.rows), 1.0f)};
    std::iota(all.rows.begin(), all.rows.end(), 0);
    if (!shared_gate_.empty()) {
      backend.Linear(x, shared_gate_, {}, {all.factors.data(), x.rows, 1});
      for (float& factor : all.factors) factor = static_cast<float>(Sigmoid(factor));
    }
    tokens.push_back(std::move(all));
  }
  const MatrixView sum = backend.Scratch(kSum, x.rows, spec_.hidden);
  backend.Zero(sum);
  for (size_t group = 0; group < tokens.size(); ++group) {
    if (tokens[group].rows.empty()) continue;
    const bool all = input.groups[group].expert < 0;
    const MatrixView hidden =
        GroupInput(backend, input, group, /*output_stage=*/true, x, all ? nullptr : &tokens[group].rows);
    const MatrixView out = Apply(backend, output.linears[output.groups[group].first], hidden, kOutput);
    backend.AddToRows(sum, tokens[group].rows, tokens[group].factors, out);
  }
  return sum;
}

}  // namespace gptq
