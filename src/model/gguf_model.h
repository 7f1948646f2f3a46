// A GGUF file in Hugging Face's terms: its config.json, its tensor names and row order, its vocabulary.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/gguf.h"
#include "model/architecture.h"
#include "model/spec.h"
#include "text/gguf_vocabulary.h"

namespace gptq {

// config.json made from the metadata by the architecture's "gguf" table. Throws Error for missing or strange
// values.
Json ConfigFromGguf(const GgufFile& file, const Architecture& architecture);

// Module by module, Hugging Face's name -> GGUF's name, for all blocks of the model.
std::map<std::string, std::string> GgufNames(const Architecture& architecture, const ModelSpec& spec);

// GGUF keeps the rows of q and k of some families in interleaved rotary order: row 2i + j of a head is
// Hugging Face's row j * head_dim / 2 + i. Returns, for each Hugging Face row, the stored row; empty if
// `module` is stored as it is.
std::vector<int32_t> GgufRowOrder(const Architecture& architecture, const ModelSpec& spec,
                                  const std::string& module, int64_t rows);

// The tokenizer's plain lists. Throws Error if the file holds none.
GgufVocabulary ReadGgufVocabulary(const GgufFile& file);

}  // namespace gptq
