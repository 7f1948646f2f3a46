// A written model against the one that was in memory: finds what its readers would compute wrongly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "compute/backend.h"
#include "workflow/model_files.h"

namespace gptq {

// The greatest errors that are no bug: where all tensors that were not quantized were written as they were
// (0 is to be expected), where they were rounded to float16, as those of a GGUF source are, and where some
// were rounded to few bits.
inline constexpr double kSelfCheckBound = 1e-3;
inline constexpr double kSelfCheckBoundRounded = 2e-2;
inline constexpr double kSelfCheckBoundFewBits = 1.5;

// Logits [ids, vocabulary] of one sequence. Holds one block's weights at a time. Throws Error as loading
// does.
Matrix LogitsBlockByBlock(ModelFiles& model, std::span<const int32_t> ids, Backend& backend);

// Opens `folder` (or a file) as any other model, runs it on `ids` (one sequence) and gives max |difference| /
// standard deviation of `logits` [ids, vocabulary], those of the model in memory; infinity where something is
// not finite or the vocabulary has another size. Throws Error where the folder cannot be read.
double SelfCheckError(const std::filesystem::path& folder, const std::filesystem::path& architecture_file,
                      std::span<const int32_t> ids, MatrixView logits, Backend& backend);

}  // namespace gptq
