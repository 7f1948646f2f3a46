// A written model against the one that was in memory: finds what its readers would compute wrongly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "compute/backend.h"
#include "workflow/model_files.h"

namespace gptq {

// The greatest errors of logits that are no bug: where all tensors were written as they were (0 is to be
// expected), where some were rounded to float16, and where some were rounded to few bits.
inline constexpr double kSelfCheckBound = 1e-3;
inline constexpr double kSelfCheckBoundRounded = 2e-2;
inline constexpr double kSelfCheckBoundFewBits = 1.5;
// Of a single tensor, |difference| / |tensor| in Euclidean norms: of 16 bits, and of 4 or more.
inline constexpr double kKeptBound = 4e-3;
inline constexpr double kKeptBoundFewBits = 0.25;

// Logits [ids, vocabulary] of one sequence. Holds one block's weights at a time. Throws Error as loading
// does.
Matrix LogitsBlockByBlock(ModelFiles& model, std::span<const int32_t> ids, Backend& backend);

// A written model whose linears were quantized, against the one in memory: rounding what was kept would move
// the logits of a model of few bits as much as a bug does, and so is looked at tensor by tensor.
struct WrittenErrors {
  double logits = 0;   // of the written linears among the source's other tensors: as SelfCheckError
  double kept = 0;     // the greatest error of a kept tensor, in units of its bound: more than 1 is a bug
  std::string tensor;  // whose that is
};
// `source`: of the model that was quantized, in which `quantized` names the linears that were replaced, and
// `few_bits` the matrices that may have been rounded to few bits.
WrittenErrors CheckQuantized(const std::filesystem::path& folder,
                             const std::filesystem::path& architecture_file, CheckpointSource& source,
                             const std::function<bool(const std::string& module)>& quantized,
                             const std::function<bool(const std::string& module)>& few_bits,
                             std::span<const int32_t> ids, MatrixView logits, Backend& backend);

// Opens `folder` (or a file) as any other model, runs it on `ids` (one sequence) and gives max |difference| /
// standard deviation of `logits` [ids, vocabulary], those of the model in memory; infinity where something is
// not finite or the vocabulary has another size. Throws Error where the folder cannot be read.
double SelfCheckError(const std::filesystem::path& folder, const std::filesystem::path& architecture_file,
                      std::span<const int32_t> ids, MatrixView logits, Backend& backend);

}  // namespace gptq
