// How far the engine's logits are from those of float32 products without a cache, for each precision of the
// inputs and of keys and values: |a - b| / |b| over all logits of the first tokens of a text, mean divergence
// in nats, perplexity. usage:
// logits_error MODEL TEXT [TOKENS]      (build it with `cmake --build build --target logits_error`)
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "workflow/model_files.h"

namespace gptq {
namespace {

std::vector<int32_t> FirstTokens(const ModelFiles& model, const char* path, int64_t count) {
  const std::string text = ReadTextFile(path);
  std::vector<int32_t> ids = model.LoadTokenizer().Encode(text.substr(0, static_cast<size_t>(16 * count)));
  CHECK(static_cast<int64_t>(ids.size()) >= count);
  ids.resize(static_cast<size_t>(count));
  return ids;
}

double RelativeError(Matrix& logits, Matrix& reference) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < reference.view().elements(); ++i) {
    const double value = reference.data()[i], difference = logits.data()[i] - value;
    error += difference * difference;
    norm += value * value;
  }
  return std::sqrt(error / norm);
}

struct Reference {
  Matrix logits;
  std::vector<int32_t> ids;
};

void Print(int bits, std::string_view kept, Backend& backend, Matrix& logits, Reference& reference) {
  const auto tokens = static_cast<size_t>(logits.rows());
  std::vector<LogitDifference> differences(tokens);
  backend.CompareLogits(reference.logits.view(), logits.view(), differences);
  std::vector<double> losses(tokens - 1);
  backend.NegativeLogLikelihood(logits.view().Rows(0, logits.rows() - 1),
                                std::span<const int32_t>(reference.ids).subspan(1), losses);
  double divergence = 0, loss = 0;
  for (const LogitDifference& difference : differences) divergence += difference.divergence;
  for (const double value : losses) loss += value;
  std::printf("%2d bits, keys and values %-8s %.3e  %.3e  %.4f\n", bits, std::string(kept).c_str(),
              RelativeError(logits, reference.logits), divergence / static_cast<double>(tokens),
              std::exp(loss / static_cast<double>(tokens - 1)));
}

void Run(const char* path, const char* text, int64_t tokens) {
  const std::unique_ptr<ModelFiles> model = ModelFiles::Open(path);
  const std::vector<int32_t> ids = FirstTokens(*model, text, tokens);
  const std::unique_ptr<Backend> backend = MakeCpuBackend(AvailableCores());
  const auto exact = model->LoadDecoder(*backend, tokens);
  Reference reference{exact->Logits(exact->Run(ids, tokens).view()), ids};
  std::printf("%-34s error      divergence perplexity\n", "");
  Print(32, "not kept", *backend, reference.logits, reference);
  const auto again = ModelFiles::Open(path);
  const auto engine = again->LoadEngine(*backend, tokens, 16);
  for (const int bits : {32, 16, 8}) {
    backend->SetActivationBits(bits);
    Matrix logits = engine->Logits(engine->Run(ids, tokens).view());
    Print(bits, "not kept", *backend, logits, reference);
    for (const DType type : {DType::kF32, DType::kF16, DType::kI8}) {
      KvCache cache = engine->MakeCache(tokens, type);
      logits = engine->Logits(engine->Run(ids, cache));
      Print(bits, Name(type), *backend, logits, reference);
    }
  }
}

}  // namespace
}  // namespace gptq

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  gptq::Run(argv[1], argv[2], argc > 3 ? std::atoll(argv[3]) : 256);
  return 0;
}
