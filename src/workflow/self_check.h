// A written model against the one that was in memory: finds what its readers would compute wrongly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "compute/backend.h"

namespace gptq {

// Opens `folder` as any other model, runs it on `ids` (one sequence) and gives max |difference| / standard
// deviation of `logits` [ids, vocabulary], those of the model in memory; infinity where something is not
// finite or the vocabulary has another size. 0 is to be expected where all kept tensors were written as they
// were, about 1e-3 (of round-off) where they were rounded to float16. Holds one block's weights at a time.
// Throws Error where the folder cannot be read.
double SelfCheckError(const std::filesystem::path& folder, const std::filesystem::path& architecture_file,
                      std::span<const int32_t> ids, MatrixView logits, Backend& backend);

}  // namespace gptq
