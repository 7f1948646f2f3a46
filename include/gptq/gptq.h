// GPTQ (arXiv 2210.17323) from C++: quantize a matrix, a layer or a whole model.
//
// Matrices are float32, row-major, rows contiguous. A linear's weight is [rows, columns] = [outputs, inputs]:
// y = weight x.
//
// Errors: std::invalid_argument for options that cannot be, std::runtime_error for all other bad input, with
// a text of the form "WHAT IS WRONG, WHERE, WHAT TO DO". Option names in these texts are the command line's.
//
// `threads`: 0 = all cores that the process may use. Their number never changes a result. All functions may
// be called from several threads at a time.
#pragma once

#include <gptq/options.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gptq {

// Borrowed.
struct FloatMatrix {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
};

// What quantizing a linear needs to know of its inputs x: H = 2 / tokens * sum over tokens of x xᵀ.
class LayerInputs {
 public:
  explicit LayerInputs(int64_t columns, int threads = 0);
  ~LayerInputs();
  LayerInputs(LayerInputs&&) noexcept;
  LayerInputs& operator=(LayerInputs&&) noexcept;

  // Adds inputs [tokens, columns]; how the tokens are cut into calls changes nothing.
  void Add(const FloatMatrix& inputs);
  int64_t tokens() const;
  // H [columns, columns] of all that was added; then it begins anew. An error where there were no tokens, or
  // some were NaN or infinite.
  std::vector<float> Hessian();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct QuantizedMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t groups = 0;                // of columns that share a scale and a zero in each row
  std::vector<uint8_t> codes;        // [rows, columns]
  std::vector<float> scales;         // [rows, groups], exact in the scale type
  std::vector<float> zeros;          // [rows, groups], whole numbers; ternary: see below
  std::vector<int32_t> group_index;  // [columns]
  // [rows, columns]: (code - zero) * scale of the row's group; ternary: zero, 0, scale for the codes 0, 1, 2
  std::vector<float> dequantized;

  // With Q = dequantized and lambda = damping * mean of H's diagonal; absent without H.
  std::optional<double> loss;            // tr((W - Q)(H + lambda I)(W - Q)ᵀ)
  std::optional<double> relative_error;  // sqrt(tr((W - Q) H (W - Q)ᵀ) / tr(W H Wᵀ)): of the outputs
  std::optional<double> damping;         // used; more than asked for where H could not be factored
  bool fell_back = false;                // to rounding to nearest; the warnings say why
  std::vector<std::string> warnings;
};

// Linears that read one input share H [columns, columns], of which only the upper triangle is read, and its
// factorization. With method "rtn" `hessian` may be empty. Scales are float32 unless options.scale_type says
// otherwise.
std::vector<QuantizedMatrix> QuantizeLayer(std::span<const FloatMatrix> weights, const FloatMatrix& hessian,
                                           const QualityOptions& options = {}, int threads = 0);
QuantizedMatrix QuantizeMatrix(const FloatMatrix& weight, const FloatMatrix& hessian,
                               const QualityOptions& options = {}, int threads = 0);

// What long work tells its caller. An exception thrown by one of them ends the work and is passed on; nothing
// appears at the output path then, and the same call later goes on from what OUTPUT.partial holds.
struct ModelCallbacks {
  std::function<void(std::string_view stage, int64_t done, int64_t steps)> progress;
  std::function<void(std::string_view text)> message;  // notes and warnings
};

struct QuantizedLinear {
  std::string name;  // as in the checkpoint, without ".weight"
  int64_t rows = 0;
  int64_t columns = 0;
  int bits = 0;
  int64_t group_size = 0;
  std::optional<double> loss, relative_error, damping;  // as above; absent for "rtn"
};

struct QuantizedModel {
  std::filesystem::path output;
  double bits_per_weight = 0;  // of the quantized linears: codes, scales, zeros and group indices
  int64_t calibration_samples = 0;
  int64_t calibration_tokens = 0;
  std::vector<QuantizedLinear> linears;  // in the order in which they were quantized
};

// Reads a Hugging Face folder or a .gguf file and writes a folder in the GPTQ format, which appears only when
// it is complete. Memory: one block's weights, the calibration samples' states, one layer's H and factor.
QuantizedModel QuantizeModel(const std::filesystem::path& model, const std::filesystem::path& output,
                             const ModelOptions& options = {}, int threads = 0,
                             const ModelCallbacks& callbacks = {});

}  // namespace gptq
