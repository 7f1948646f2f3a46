#include "text/tokenizer_config.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "text/json_fields.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

struct JsonFile {
  Json content;  // null where the file is absent
  std::string where;
};

JsonFile ReadIfPresent(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {Json(), path.string()};
  return {ReadJsonFile(path), path.string()};
}

// A token is written as its text or as an object with `content`.
std::optional<std::string> TokenContent(const JsonFile& file, std::string_view key) {
  const Json* field = FindField(file.content, key);
  if (field == nullptr) return std::nullopt;
  if (field->is_object()) return FindString(*field, "content", file.where);
  return field->is_string() ? std::optional(field->get<std::string>()) : std::nullopt;
}

std::optional<int32_t> IdOf(const std::string& content, const TokenizerParts& parts) {
  for (const AddedToken& token : parts.added_tokens) {
    if (token.content == content) return token.id;
  }
  return parts.vocabulary->Find(content);
}

void AddToken(AddedToken token, TokenizerParts& parts) {
  const auto same = [&](const AddedToken& other) {
    return other.id == token.id || other.content == token.content;
  };
  if (std::none_of(parts.added_tokens.begin(), parts.added_tokens.end(), same))
    parts.added_tokens.push_back(std::move(token));
}

void ReadAddedTokensDecoder(const JsonFile& config, TokenizerParts& parts) {
  const Json* tokens = FindField(config.content, "added_tokens_decoder");
  if (tokens == nullptr || !tokens->is_object()) return;
  for (const auto& [key, description] : tokens->items()) {
    const bool is_number =
        !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number) WrongType("added_tokens_decoder", "an object of ids and tokens", config.where);
    AddToken(ParseAddedToken(description, std::stoi(key), config.where), parts);
  }
}

void ReadAddedTokensMap(const JsonFile& map, TokenizerParts& parts) {
  if (!map.content.is_object()) return;
  for (const auto& [content, id] : map.content.items()) {
    AddToken({.id = ToTokenId(id, content, map.where), .content = content}, parts);
  }
}

// Special tokens that the configuration names by their text.
void ReadNamedTokens(const JsonFile& config, const JsonFile& map, TokenizerParts& parts) {
  const std::pair<const char*, std::optional<int32_t>*> names[] = {{"bos_token", &parts.special.bos},
                                                                   {"eos_token", &parts.special.eos},
                                                                   {"pad_token", &parts.special.pad},
                                                                   {"unk_token", &parts.special.unknown}};
  for (const auto& [key, id] : names) {
    auto content = TokenContent(config, key);
    if (!content) content = TokenContent(map, key);
    if (!content || content->empty()) continue;
    const auto found = IdOf(*content, parts);
    if (!found) continue;
    *id = found;
    AddToken({.id = *found, .content = *content, .special = true}, parts);
  }
}

int64_t IdLimit(const TokenizerParts& parts) {
  int64_t limit = parts.vocabulary->size();
  for (const AddedToken& token : parts.added_tokens) limit = std::max<int64_t>(limit, int64_t{token.id} + 1);
  return limit;
}

// `key` as an id or a list of ids; ids that the tokenizer does not have are passed over (small models carry
// the configurations of large ones).
std::vector<int32_t> IdsIn(const JsonFile& file, std::string_view key, int64_t limit) {
  std::vector<int32_t> ids;
  const auto add = [&](const Json& value) {
    if (value.is_number_integer() && value >= 0 && value < limit) ids.push_back(value.get<int32_t>());
  };
  if (const Json* field = FindField(file.content, key)) {
    if (field->is_array()) {
      for (const Json& value : *field) add(value);
    } else {
      add(*field);
    }
  }
  return ids;
}

void ReadModelIds(const fs::path& folder, TokenizerParts& parts) {
  const int64_t limit = IdLimit(parts);
  std::vector<int32_t>& ends = parts.special.ends;
  for (const char* name : {"generation_config.json", "config.json"}) {
    const JsonFile file = ReadIfPresent(folder / name);
    const auto first = [&](std::string_view key, std::optional<int32_t>& id) {
      const std::vector<int32_t> ids = IdsIn(file, key, limit);
      if (!id && !ids.empty()) id = ids[0];
    };
    first("bos_token_id", parts.special.bos);
    first("eos_token_id", parts.special.eos);
    first("pad_token_id", parts.special.pad);
    const std::vector<int32_t> found = IdsIn(file, "eos_token_id", limit);
    ends.insert(ends.end(), found.begin(), found.end());
    if (!found.empty()) break;
  }
  if (parts.special.eos) ends.insert(ends.begin(), *parts.special.eos);
  std::vector<int32_t> unique;
  for (const int32_t id : ends) {
    if (std::find(unique.begin(), unique.end(), id) == unique.end()) unique.push_back(id);
  }
  ends = std::move(unique);
}

// Classes that rebuild the template from add_bos_token and add_eos_token, whatever the tokenizer.json says.
bool BuildsOwnTemplate(const std::string& name) {
  return name == "LlamaTokenizer" || name == "CodeLlamaTokenizer" || name == "GemmaTokenizer" ||
         name == "GPT2Tokenizer";
}

void ReadTemplateFlags(const JsonFile& config, const std::string& tokenizer_class, TokenizerParts& parts) {
  if (!BuildsOwnTemplate(tokenizer_class)) return;
  const auto apply = [&](std::string_view key, std::optional<int32_t> id, std::vector<int32_t>& side) {
    const auto flag = FindBool(config.content, key, config.where);
    if (!flag) return;
    side.clear();
    if (*flag && id) side.push_back(*id);
  };
  apply("add_bos_token", parts.special.bos, parts.token_template.before);
  apply("add_eos_token", parts.special.eos, parts.token_template.after);
}

std::optional<std::string> DefaultTemplate(const Json& field) {
  if (field.is_string()) return field.get<std::string>();
  if (!field.is_array()) return std::nullopt;
  for (const Json& entry : field) {  // several templates with names
    const Json* name = FindField(entry, "name");
    const Json* text = FindField(entry, "template");
    if (name != nullptr && text != nullptr && *name == "default" && text->is_string())
      return text->get<std::string>();
  }
  return std::nullopt;
}

void ReadChatTemplate(const fs::path& folder, const JsonFile& config, TokenizerParts& parts) {
  std::error_code ignored;
  if (fs::exists(folder / "chat_template.jinja", ignored)) {
    parts.chat_template = ReadTextFile(folder / "chat_template.jinja", int64_t{16} << 20);
    return;
  }
  if (const Json* field = FindField(config.content, "chat_template"))
    parts.chat_template = DefaultTemplate(*field);
  if (parts.chat_template) return;
  const JsonFile file = ReadIfPresent(folder / "chat_template.json");
  if (const Json* field = FindField(file.content, "chat_template"))
    parts.chat_template = DefaultTemplate(*field);
}

std::string ClassIn(const JsonFile& config) {
  std::string name = FindString(config.content, "tokenizer_class", config.where).value_or("");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

}  // namespace

std::string TokenizerClass(const fs::path& folder) {
  return ClassIn(ReadIfPresent(folder / "tokenizer_config.json"));
}

void ReadTokenizerConfig(const fs::path& folder, TokenizerParts& parts) {
  const JsonFile config = ReadIfPresent(folder / "tokenizer_config.json");
  ReadAddedTokensDecoder(config, parts);
  ReadAddedTokensMap(ReadIfPresent(folder / "added_tokens.json"), parts);
  ReadNamedTokens(config, ReadIfPresent(folder / "special_tokens_map.json"), parts);
  ReadTemplateFlags(config, ClassIn(config), parts);
  ReadModelIds(folder, parts);
  ReadChatTemplate(folder, config, parts);
}

}  // namespace gptq
