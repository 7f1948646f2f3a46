#include "workflow/data_rows.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {
namespace {

[[noreturn]] void Malformed(std::string_view what, int64_t line, std::string_view where) {
  throw Error(what, Concat(where, " line ", line), "is this the right file, and whole?");
}

DataRow RowFrom(Json fields, int64_t line, std::string_view where) {
  if (!fields.is_object()) Malformed("not a JSON object", line, where);
  return {line, std::move(fields)};
}

// A table's rows of values, each with its first line.
class TableReader {
 public:
  TableReader(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  bool done() const { return at_ >= text_.size(); }
  int64_t line() const { return line_; }

  std::vector<std::string> Row() {
    std::vector<std::string> values{Value()};
    while (!done() && text_[at_] == ',') {
      ++at_;
      values.push_back(Value());
    }
    if (!done() && text_[at_] == '\r') ++at_;
    if (!done() && text_[at_] != '\n') Malformed("text behind a closing quote", line_, where_);
    if (!done()) ++at_;
    ++line_;
    return values;
  }

 private:
  std::string Value() {
    if (done() || text_[at_] != '"') {
      const size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
      const std::string_view value = text_.substr(at_, end - at_);
      at_ = end;
      return std::string(value);
    }
    const int64_t first_line = line_;
    std::string value;
    for (++at_; !done(); ++at_) {
      if (text_[at_] == '"' && text_.substr(at_ + 1, 1) != "\"") {
        ++at_;
        return value;
      }
      if (text_[at_] == '"') ++at_;
      line_ += text_[at_] == '\n';
      value += text_[at_];
    }
    Malformed("a quote that is not closed", first_line, where_);
  }

  std::string_view text_, where_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<DataRow> ParseJsonRows(std::string_view text, std::string_view where) {
  std::vector<DataRow> rows;
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first != std::string_view::npos && text[first] == '[') {
    for (Json& element : ParseJson(text, where))
      rows.push_back(RowFrom(std::move(element), static_cast<int64_t>(rows.size()) + 1, where));
    return rows;
  }
  int64_t line = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view content = text.substr(at, end - at);
    at = end + 1;
    ++line;
    if (content.find_first_not_of(kWhiteSpace) == std::string_view::npos) continue;
    rows.push_back(RowFrom(ParseJson(content, Concat(where, " line ", line)), line, where));
  }
  return rows;
}

std::vector<DataRow> ParseTableRows(std::string_view text, std::string_view where) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<DataRow> rows;
  TableReader reader(text, where);
  if (reader.done()) return rows;
  const std::vector<std::string> names = reader.Row();
  while (!reader.done()) {
    const int64_t line = reader.line();
    std::vector<std::string> values = reader.Row();
    if (values.size() == 1 && values[0].empty()) continue;
    if (values.size() != names.size())
      Malformed(Concat(values.size(), " values in a table of ", names.size(), " columns"), line, where);
    Json fields = Json::object();
    for (size_t i = 0; i < names.size(); ++i) fields[names[i]] = std::move(values[i]);
    rows.push_back({line, std::move(fields)});
  }
  return rows;
}

std::vector<DataRow> ReadDataRows(const std::filesystem::path& path) {
  const std::string text = ReadTextFile(path);
  std::vector<DataRow> rows =
      path.extension() == ".csv" ? ParseTableRows(text, path.string()) : ParseJsonRows(text, path.string());
  if (rows.empty())
    throw Error("no examples in the file", path.string(), "is this the right file, and whole?");
  return rows;
}

}  // namespace gptq
