#include "base/error.h"
#include "text/json_fields.h"
#include "text/tokenizer_json.h"

namespace gptq {
namespace {

std::vector<int32_t> IdsOfSpecialToken(const Json& description, const std::string& name,
                                       std::string_view where) {
  const Json& entry = RequiredField(RequiredField(description, "special_tokens", where), name, where);
  std::vector<int32_t> ids;
  for (const Json& id : RequiredArray(entry, "ids", where)) ids.push_back(ToTokenId(id, "ids", where));
  return ids;
}

TokenTemplate ParseTemplateProcessing(const Json& description, std::string_view where) {
  TokenTemplate result;
  int texts = 0;
  for (const Json& item : RequiredArray(description, "single", where)) {
    if (const Json* special = FindField(item, "SpecialToken")) {
      std::vector<int32_t>& side = texts == 0 ? result.before : result.after;
      const std::vector<int32_t> ids =
          IdsOfSpecialToken(description, RequiredString(*special, "id", where), where);
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (FindField(item, "Sequence") != nullptr) {
      ++texts;
    } else {
      throw Error(Concat("unknown part ", Dump(item), " of a template"), where, "correct the file");
    }
  }
  if (texts != 1)
    throw Error(Concat("a template that holds the text ", texts, " times"), where, "correct the file");
  return result;
}

// Bert's and Roberta's: "cls" and "sep" are [token, id].
int32_t IdOfPair(const Json& description, std::string_view key, std::string_view where) {
  const Json& pair = RequiredArray(description, key, where);
  if (pair.size() != 2) WrongType(key, "[token, id]", where);
  return ToTokenId(pair[1], key, where);
}

}  // namespace

TokenTemplate ParseTemplate(const Json& description, std::string_view where) {
  if (description.is_null()) return {};
  const std::string type = RequiredString(description, "type", where);
  if (type == "ByteLevel") return {};  // trims offsets, leaves ids alone
  if (type == "TemplateProcessing") return ParseTemplateProcessing(description, where);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {{IdOfPair(description, "cls", where)}, {IdOfPair(description, "sep", where)}};
  }
  if (type != "Sequence") {
    throw Error(Concat("the post-processor '", type, "' is not supported"), where,
                "use a model whose tokenizer has another post-processor");
  }
  TokenTemplate result;
  for (const Json& step : RequiredArray(description, "processors", where)) {
    const TokenTemplate outer = ParseTemplate(step, where);
    result.before.insert(result.before.begin(), outer.before.begin(), outer.before.end());
    result.after.insert(result.after.end(), outer.after.begin(), outer.after.end());
  }
  return result;
}

}  // namespace gptq
