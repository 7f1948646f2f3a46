#include "workflow/self_check.h"

#include <cmath>
#include <limits>

namespace gptq {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// max |a - b| / standard deviation of b
double RelativeError(MatrixView a, MatrixView b) {
  double sum = 0, squares = 0, worst = 0;
  for (int64_t i = 0; i < b.elements(); ++i) {
    const double value = b.data[i], difference = std::abs(a.data[i] - value);
    if (!std::isfinite(difference)) return kInfinity;
    sum += value;
    squares += value * value;
    worst = std::max(worst, difference);
  }
  const double mean = sum / static_cast<double>(b.elements());
  const double variance = squares / static_cast<double>(b.elements()) - mean * mean;
  return worst == 0 ? 0 : worst / std::sqrt(std::max(variance, 0.0));
}

}  // namespace

// As a Decoder does it, but each block's weights are gone before the next ones are read.
Matrix LogitsBlockByBlock(ModelFiles& model, std::span<const int32_t> ids, Backend& backend) {
  const ModelSpec& spec = model.spec();
  const auto tokens = static_cast<int64_t>(ids.size());
  const EmbeddingAndHead ends(spec, model.source());
  const PositionTables positions(spec, tokens);
  BlockState state{1, tokens, 0, ends.Embed(backend, ids, tokens, 0), {}};
  for (int64_t i = 0; i < spec.layers; ++i) {
    Block(spec, i, model.source()).Forward(backend, positions, state, nullptr);
    model.source().ReleaseAll();
  }
  model.source().CheckAllRead();
  return ends.Logits(backend, state.hidden.view());
}

double SelfCheckError(const std::filesystem::path& folder, const std::filesystem::path& architecture_file,
                      std::span<const int32_t> ids, MatrixView logits, Backend& backend) {
  CHECK(!ids.empty() && logits.rows == static_cast<int64_t>(ids.size()));
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(folder, architecture_file);
  if (model->spec().vocabulary != logits.columns) return kInfinity;
  Matrix read_back = LogitsBlockByBlock(*model, ids, backend);
  return RelativeError(read_back.view(), logits);
}

}  // namespace gptq
