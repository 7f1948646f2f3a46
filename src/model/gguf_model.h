// A GGUF file in Hugging Face's terms: its config.json and its vocabulary.
#pragma once

#include "base/json.h"
#include "io/gguf.h"
#include "model/architecture.h"
#include "text/gguf_vocabulary.h"

namespace gptq {

// The values of the file's architecture, ARCHITECTURE.a.b as {"a": {"b": value}}, without very long lists.
Json GgufMetadataJson(const GgufFile& file);

// config.json made from the metadata by the architecture's "gguf" section. Throws Error for missing or
// strange values.
Json ConfigFromGguf(const GgufFile& file, const Architecture& architecture);

// The tokenizer's plain lists. Throws Error if the file holds none.
GgufVocabulary ReadGgufVocabulary(const GgufFile& file);

}  // namespace gptq
