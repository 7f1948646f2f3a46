// An architecture file: how a family's config.json and tensor names are read. docs/architecture.md lists the
// vocabulary; architectures/*.json are the files, which the binary carries.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace gptq {

struct EmbeddedArchitecture {
  std::string_view name, text;
};
const std::vector<EmbeddedArchitecture>& EmbeddedArchitectures();

struct Architecture {
  std::string name;
  std::string origin;                    // file name, for messages
  std::vector<std::string> model_types;  // of config.json
  std::string gguf_architecture;         // of general.architecture; empty if the family has no GGUF form
  Json json;
};

// `text` may say `"extends": NAME` of an embedded file: what it does not say itself is as there; its fields,
// tensors and GGUF tables are added to, value by value.
Architecture ParseArchitecture(std::string_view text, std::string_view origin);
Architecture ReadArchitectureFile(const std::filesystem::path& path);
// The embedded file for a config.json's model_type (or GGUF's general.architecture). Throws Error listing the
// known ones.
Architecture ArchitectureForModelType(std::string_view model_type, std::string_view where);
// Of several files with that architecture one whose condition the metadata meet (see GgufMetadataJson), else
// the one that has none.
Architecture ArchitectureForGguf(std::string_view gguf_architecture, const Json& metadata,
                                 std::string_view where);

}  // namespace gptq
