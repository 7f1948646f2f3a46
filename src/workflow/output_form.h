// How a model is laid out in a format: which tensors stand for a linear, which are kept and as what, and what
// lies beside them.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "io/checkpoint_writer.h"
#include "quant/linear_tensors.h"
#include "quant/quantization_config.h"
#include "quant/stored_matrix.h"
#include "workflow/model_files.h"

namespace gptq {

// A linear that is written from its codes.
struct OutputLinear {
  LinearShape shape;
  LinearSettings settings;   // of a folder; settings.format kPlain: written as floats of the type below
  DType type = DType::kF16;  // of a GGUF file's blocks, or of the floats
};

// Module names -> linears.
using OutputLinears = std::map<std::string, OutputLinear>;

// A tensor taken over from the source: the type in the output, and how it lies in the source.
struct KeptTensor {
  std::string name;
  CheckpointSource::Stored stored;
  DType type;
  bool transposed = false;  // the output's is the transpose

  Shape shape() const;  // in the output
  bool as_it_is() const;
};

// Types of the matrices at the ends of a model in GGUF; absent: as in the source, at most 16 bits.
struct EndTypes {
  std::optional<DType> embedding, head;
};

class OutputForm {
 public:
  virtual ~OutputForm() = default;
  virtual std::vector<TensorDeclaration> Declare(const std::string& module) const = 0;
  virtual std::vector<std::pair<std::string, Tensor>> Store(const std::string& module,
                                                            const StoredMatrix& weight,
                                                            ThreadPool& pool) const = 0;
  virtual std::vector<KeptTensor> Kept() = 0;
  // Tensors that the source holds in another form.
  virtual std::map<std::string, Tensor> Made() const { return {}; }
  virtual std::unique_ptr<CheckpointWriter> Open(const std::filesystem::path& content,
                                                 std::vector<TensorDeclaration> tensors, bool resume) = 0;
  // Files beside the tensors.
  virtual void WriteSideFiles(const std::filesystem::path& content) = 0;
  virtual const OutputLinears& linears() const = 0;
};

// A Hugging Face folder. `side_files` are copied as they are; `gguf_type`: what the tensors of a GGUF source
// become; absent: bfloat16 where that is what some are, else float16.
std::unique_ptr<OutputForm> MakeFolderForm(ModelFiles& model, OutputLinears linears,
                                           std::optional<QuantizationConfig> config,
                                           std::vector<std::filesystem::path> side_files,
                                           std::optional<DType> gguf_type = std::nullopt);
// One GGUF file. `types`: of kept matrices that change, by module. Throws Error where the architecture or the
// tokenizer has no GGUF form.
std::unique_ptr<OutputForm> MakeGgufForm(ModelFiles& model, OutputLinears linears,
                                         std::map<std::string, DType> types);

// What matrices of a GGUF file become in a folder of floats: bfloat16 where some are, else float16.
DType FloatTypeOf(const ModelFiles& model);

// The types of a model's ends as they fit its rows, added to `types`.
void AddEndTypes(const ModelSpec& spec, const EndTypes& ends, std::map<std::string, DType>& types);

// A kept tensor's rows [first, first + count) in the output's order and type.
Tensor ConvertRows(const KeptTensor& kept, int64_t first, int64_t count, ThreadPool& pool);

inline constexpr const char* kModelCard = "README.md";

// Files of a source folder that are neither weights nor configuration nor the model card.
std::vector<std::filesystem::path> SideFiles(const ModelFiles& model);

}  // namespace gptq
