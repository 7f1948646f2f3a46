#include "workflow/logits.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/output_folder.h"
#include "io/safetensors_writer.h"

namespace gptq {

LogitsResult ComputeLogits(ModelFiles& model, Backend& backend, const TensorView& input_ids,
                           const std::string& name, bool hidden_states, int activation_bits) {
  if (input_ids.dtype != DType::kI32 || input_ids.shape.size() != 2 || input_ids.elements() == 0) {
    throw Error(Concat("'input_ids' is ", Name(input_ids.dtype), " ", ToString(input_ids.shape),
                       ", must be I32 [batch, tokens]"),
                name, "write the file again");
  }
  const int64_t batch = input_ids.shape[0], tokens = input_ids.shape[1];
  if (tokens > model.spec().max_positions) {
    throw Error(
        Concat("sequences of ", tokens, " tokens, the model takes at most ", model.spec().max_positions),
        name, "use shorter sequences");
  }
  std::vector<int32_t> ids(static_cast<size_t>(input_ids.elements()));
  std::memcpy(ids.data(), input_ids.data, static_cast<size_t>(input_ids.bytes()));
  const std::unique_ptr<Decoder> decoder = model.LoadEngine(backend, tokens, activation_bits);

  LogitsResult result;
  result.logits = Tensor::Uninitialized(DType::kF32, {batch, tokens, model.spec().vocabulary});
  const auto observe = [&](int64_t, MatrixView hidden) {
    Tensor copy = Tensor::Uninitialized(DType::kF32, {batch, tokens, hidden.columns});
    Matrix buffer;
    std::copy_n(backend.Readable(hidden, buffer).data, hidden.elements(), copy.As<float>().data());
    result.hidden_states.push_back(std::move(copy));
  };
  Matrix hidden =
      decoder->Run(ids, tokens, hidden_states ? std::function<void(int64_t, MatrixView)>(observe) : nullptr);
  for (int64_t b = 0; b < batch; ++b) {
    Matrix logits = decoder->Logits(hidden.view().Rows(b * tokens, tokens));
    backend.MakeReadable(logits);
    if (!std::all_of(logits.data(), logits.data() + logits.view().elements(),
                     [](float x) { return std::isfinite(x); })) {
      throw Error(Concat("the model's output is not finite in sequence ", b), model.spec().where,
                  "the weights are damaged or overflow; fetch the model again");
    }
    std::copy_n(logits.data(), logits.view().elements(),
                result.logits.As<float>().data() + b * logits.view().elements());
  }
  return result;
}

void WriteLogits(const std::filesystem::path& path, bool overwrite, const LogitsResult& result) {
  std::vector<std::pair<std::string, TensorView>> tensors{{"logits", result.logits.view()}};
  for (size_t i = 0; i < result.hidden_states.size(); ++i) {
    tensors.emplace_back("hidden_after_block_" + std::to_string(i), result.hidden_states[i].view());
  }
  OutputFile output(path, overwrite);
  WriteSafetensors(output.file(), tensors);
  output.Commit();
}

}  // namespace gptq
