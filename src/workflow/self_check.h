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

// The greatest error of logits that is no bug: max |difference| / their standard deviation; 0 is to be
// expected.
inline constexpr double kSelfCheckBound = 1e-3;
// Of a single tensor of 16 bits, |difference| / |tensor| in Euclidean norms.
inline constexpr double kKeptBound = 4e-3;

// Logits [ids, vocabulary] of one sequence, the blocks run once. Holds one block's weights at a time. Throws
// Error as loading does.
Matrix LogitsBlockByBlock(ModelFiles& model, std::span<const int32_t> ids, Backend& backend);

// A written model against what it was made from: rounding what was kept would move the logits of a model of
// few bits as much as a bug does, and so is looked at tensor by tensor.
struct WrittenErrors {
  double logits = 0;   // of the written linears that replace others, among the source's other tensors
  double kept = 0;     // the greatest error of a kept tensor, in units of its bound: more than 1 is a bug
  std::string tensor;  // whose that is
};

// Which tensors of the source a written model replaces, and how far the others may be off.
struct WrittenModules {
  std::function<bool(const std::string& module)> replaced;
  // |difference| / |matrix| in Euclidean norms.
  std::function<double(const std::string& module)> bound = [](const std::string&) { return kKeptBound; };
};

// Opens `path` (a folder or a file) as any other model and runs it on `ids`, one sequence. `logits` [ids,
// vocabulary]: those of the model in memory, `source` with its linears replaced. Errors are infinite where
// something is not finite or the vocabulary has another size. Throws Error where the path cannot be read.
WrittenErrors CheckWritten(const std::filesystem::path& path, const std::filesystem::path& architecture_file,
                           CheckpointSource& source, const WrittenModules& modules,
                           std::span<const int32_t> ids, MatrixView logits, Backend& backend);

}  // namespace gptq
