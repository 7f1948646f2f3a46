#include "workflow/self_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

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

// As a Decoder does it, but each block's weights are gone before the next ones are read.
Matrix RunBlockByBlock(const ModelSpec& spec, WeightSource& source, const std::function<void()>& release,
                       std::span<const int32_t> ids, Backend& backend) {
  const auto tokens = static_cast<int64_t>(ids.size());
  const EmbeddingAndHead ends(spec, source);
  const PositionTables positions(spec, tokens);
  BlockState state{1, tokens, ends.Embed(backend, ids, tokens), {}};
  for (int64_t i = 0; i < spec.layers; ++i) {
    Block(spec, i, source).Forward(backend, positions, state);
    release();
  }
  Matrix logits = ends.Logits(backend, state.hidden.view());
  backend.MakeReadable(logits);
  return logits;
}

// Sums of squares on the way to |a - b| / |b|.
struct Difference {
  double difference = 0, reference = 0;

  void Add(std::span<const float> a, std::span<const float> b) {
    for (size_t i = 0; i < b.size(); ++i) {
      difference += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
      reference += double{b[i]} * double{b[i]};
    }
  }
  double Relative() const {
    if (!std::isfinite(difference)) return kInfinity;
    return difference == 0 ? 0 : std::sqrt(difference / reference);
  }
};

// The linears that replace others as they were written; all else from the source, compared with what was
// written.
class WrittenLinears : public WeightSource {
 public:
  // `prefix`: of the written model's names, which the source's lack.
  WrittenLinears(WeightSource& written, WeightSource& source, std::string prefix,
                 const WrittenModules& modules, ThreadPool& pool)
      : written_(written), source_(source), prefix_(std::move(prefix)), modules_(modules), pool_(pool) {}

  std::optional<Weight> FindMatrix(const std::string& written_module, int64_t rows, int64_t columns,
                                   MatrixLayout layout) override {
    const std::string module = InSource(written_module);
    std::optional<Weight> written = written_.FindMatrix(written_module, rows, columns, layout);
    if (modules_.replaced(module)) {
      if (written) written->Tile(pool_);
      return written;
    }
    std::optional<Weight> kept = source_.FindMatrix(module, rows, columns, layout);
    if (!SameIn(written.has_value(), kept.has_value(), module) || !kept) return kept;
    constexpr int64_t kElements = 1 << 20;
    const int64_t piece = std::max<int64_t>(1, kElements / columns);
    std::vector<float> a(static_cast<size_t>(std::min(piece, rows) * columns)), b(a.size());
    Difference sum;
    for (int64_t first = 0; first < rows; first += piece) {
      const int64_t count = std::min(piece, rows - first);
      written->ReadRows(first, count, a.data());
      kept->ReadRows(first, count, b.data());
      const auto size = static_cast<size_t>(count * columns);
      sum.Add(std::span(a).first(size), std::span(b).first(size));
    }
    Note(module + ".weight", sum.Relative() / modules_.bound(module));
    return kept;
  }

  std::optional<std::vector<float>> FindVector(const std::string& written_module, const std::string& kind,
                                               int64_t size) override {
    const std::optional<std::vector<float>> written = written_.FindVector(written_module, kind, size);
    const std::string module = InSource(written_module);
    std::optional<std::vector<float>> kept = source_.FindVector(module, kind, size);
    if (!SameIn(written.has_value(), kept.has_value(), module + "." + kind) || !kept) return kept;
    Difference sum;
    sum.Add(*written, *kept);
    Note(module + "." + kind, sum.Relative() / kKeptBound);
    return kept;
  }

  std::string Where() const override { return written_.Where(); }
  const WrittenErrors& errors() const { return errors_; }

 private:
  std::string InSource(const std::string& module) const {
    return module.starts_with(prefix_) ? module.substr(prefix_.size()) : module;
  }
  bool SameIn(bool written, bool kept, const std::string& tensor) {
    if (written != kept) Note(tensor, kInfinity);
    return written == kept;
  }
  void Note(const std::string& tensor, double error) {
    if (error <= errors_.kept) return;
    errors_.kept = error;
    errors_.tensor = tensor;
  }

  WeightSource& written_;
  WeightSource& source_;
  std::string prefix_;
  const WrittenModules& modules_;
  ThreadPool& pool_;
  WrittenErrors errors_;
};

}  // namespace

Matrix LogitsBlockByBlock(ModelFiles& model, std::span<const int32_t> ids, Backend& backend) {
  Matrix logits = RunBlockByBlock(
      model.spec(), model.source(), [&] { model.source().ReleaseAll(); }, ids, backend);
  model.source().CheckAllRead();
  return logits;
}

WrittenErrors CheckWritten(const std::filesystem::path& path, const std::filesystem::path& architecture_file,
                           CheckpointSource& source, const WrittenModules& modules,
                           std::span<const int32_t> ids, MatrixView logits, Backend& backend) {
  CHECK(!ids.empty() && logits.rows == static_cast<int64_t>(ids.size()));
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(path, architecture_file);
  if (model->spec().vocabulary != logits.columns) return {kInfinity, 0, {}};
  // A folder may lack the prefix that its names have in GGUF's terms.
  const bool same_names = source.spec().Name("embedding") == model->spec().Name("embedding");
  WrittenLinears linears(model->source(), source, same_names ? "" : model->spec().optional_prefix, modules,
                         backend.pool());
  const auto release = [&] {
    model->source().ReleaseAll();
    source.ReleaseAll();
  };
  Matrix read_back = RunBlockByBlock(model->spec(), linears, release, ids, backend);
  model->source().CheckAllRead();
  WrittenErrors errors = linears.errors();
  errors.logits = RelativeError(read_back.view(), logits);
  return errors;
}

}  // namespace gptq
