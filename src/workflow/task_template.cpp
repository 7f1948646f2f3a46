#include "workflow/task_template.h"

#include "base/error.h"
#include "text/unicode.h"
#include "workflow/data_rows.h"

namespace gptq {
namespace {

std::string StripLeft(const std::string& text) {
  const size_t first = text.find_first_not_of(kWhiteSpace);
  return first == std::string::npos ? "" : text.substr(first);
}

std::string Strip(const std::string& text) {
  const std::string rest = StripLeft(text);
  return rest.substr(0, rest.find_last_not_of(kWhiteSpace) + 1);
}

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// What WikiHow's pages left in HellaSwag.
std::string WithoutWikiHowMarks(std::string text) {
  text = Strip(text);
  ReplaceAll(text, " [title]", ". ");
  for (size_t at = text.find('['); at != std::string::npos; at = text.find('[', at)) {
    const size_t end = text.find(']', at), line_end = text.find('\n', at);
    if (end < line_end) {
      text.erase(at, end + 1 - at);
    } else {
      ++at;
    }
  }
  ReplaceAll(text, "  ", " ");
  return text;
}

size_t FirstCharacter(const std::string& text) { return text.empty() ? 0 : DecodeUtf8(text, 0).size; }

std::string UpperAscii(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

}  // namespace

std::string ApplyFilter(std::string_view filter, std::string text) {
  if (filter == "strip") return Strip(text);
  if (filter == "strip_left") return StripLeft(text);
  if (filter == "drop_last") return text.substr(0, text.empty() ? 0 : text.size() - 1);
  const size_t first = FirstCharacter(text);
  if (filter == "capitalize") return UpperAscii(text.substr(0, first)) + LowerCase(text.substr(first));
  if (filter == "lower_first") return LowerCase(text.substr(0, first)) + text.substr(first);
  if (filter == "because_therefore")
    return text == "cause" ? "because" : text == "effect" ? "therefore" : text;
  if (filter == "wikihow") return WithoutWikiHowMarks(std::move(text));
  throw Error(Concat("filter '", filter, "' is not known"), "the task's description",
              "docs/evaluation.md lists the filters");
}

std::optional<Json> FieldAt(const Json& fields, std::string_view path) {
  const size_t dot = path.find('.');
  const std::string key(path.substr(0, dot));
  const std::string_view rest = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  if (key == "*") {
    if (!fields.is_array()) return std::nullopt;
    Json all = Json::array();
    for (const Json& element : fields) {
      std::optional<Json> value = rest.empty() ? element : FieldAt(element, rest);
      if (!value) return std::nullopt;
      all.push_back(std::move(*value));
    }
    return all;
  }
  const auto found = fields.is_object() ? fields.find(key) : fields.end();
  if (found == fields.end()) return std::nullopt;
  return rest.empty() ? *found : FieldAt(*found, rest);
}

std::optional<std::string> TextAt(const Json& fields, std::string_view path) {
  const std::optional<Json> value = FieldAt(fields, path);
  if (!value) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  if (value->is_number_integer()) return std::to_string(value->get<int64_t>());
  return std::nullopt;
}

std::optional<std::string> FillTemplate(std::string_view text, const Json& fields) {
  std::string filled;
  while (!text.empty()) {
    const size_t open = text.find('{'), close = text.find('}', open);
    filled += text.substr(0, open);
    if (close == std::string_view::npos) break;
    std::string_view name = text.substr(open + 1, close - open - 1);
    size_t bar = name.find('|');
    std::optional<std::string> value = TextAt(fields, name.substr(0, bar));
    if (!value) return std::nullopt;
    while (bar != std::string_view::npos) {
      name = name.substr(bar + 1);
      bar = name.find('|');
      value = ApplyFilter(name.substr(0, bar), std::move(*value));
    }
    filled += *value;
    text = text.substr(close + 1);
  }
  return filled;
}

}  // namespace gptq
