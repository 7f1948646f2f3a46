#include "workflow/quantize_journal.h"

#include "base/error.h"
#include "io/writable_file.h"

namespace gptq {
namespace {

constexpr int kVersion = 1;  // of the journal's own form

Json ChoicesToJson(const std::map<std::string, LinearChoice>& choices) {
  Json json = Json::object();
  for (const auto& [name, choice] : choices)
    json[name] = {choice.bits, choice.group_size, choice.type ? Json(Name(*choice.type)) : Json()};
  return json;
}

std::map<std::string, LinearChoice> ChoicesFrom(const Json& json) {
  std::map<std::string, LinearChoice> choices;
  for (const auto& [name, choice] : json.items()) {
    choices[name] = {choice.at(0).get<int>(), choice.at(1).get<int64_t>(), {}};
    if (choice.at(2).is_string()) choices[name].type = DTypeFromName(choice.at(2).get<std::string>());
  }
  return choices;
}

std::string Text(const Json& value) { return value.is_string() ? value.get<std::string>() : Dump(value); }

}  // namespace

std::filesystem::path JournalPath(const std::filesystem::path& partial) { return partial / "journal.json"; }

void WriteJournal(const std::filesystem::path& partial, const QuantizeJournal& journal) {
  const Json json = {{"journal", kVersion},
                     {"settings", journal.settings},
                     {"arithmetic", journal.arithmetic},
                     {"choices", ChoicesToJson(journal.choices)},
                     {"blocks_done", journal.blocks_done},
                     {"work", ToJson(journal.work)},
                     {"boundary", journal.boundary}};
  WriteFileAtOnce(JournalPath(partial), Dump(json));
}

std::optional<QuantizeJournal> ReadJournal(const std::filesystem::path& partial) {
  const std::filesystem::path path = JournalPath(partial);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const auto damaged = [&] {
    return Error("the journal of unfinished work is damaged", path.string(), "begin again with --restart");
  };
  const Json json = Json::parse(ReadTextFile(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw damaged();
  try {
    if (json.at("journal") != kVersion) {
      throw Error("unfinished work of another version of this program", path.string(),
                  "finish it with that version, or begin again with --restart");
    }
    QuantizeJournal journal;
    journal.settings = json.at("settings");
    journal.arithmetic = json.at("arithmetic").get<std::string>();
    journal.choices = ChoicesFrom(json.at("choices"));
    journal.blocks_done = json.at("blocks_done").get<int64_t>();
    journal.work = WorkReportFrom(json.at("work"));
    journal.boundary = json.at("boundary");
    return journal;
  } catch (const Json::exception&) {
    throw damaged();
  }
}

std::vector<std::string> DescribeDifferences(const Json& before, const Json& now) {
  std::vector<std::string> differences;
  for (const auto& [name, value] : now.items()) {
    if (!before.contains(name)) {
      differences.push_back(name + " is new");
    } else if (before.at(name) != value) {
      // Hashes tell a reader nothing.
      const bool readable = name.starts_with("--") || name == "the program's version";
      differences.push_back(readable ? Concat(name, " was ", Text(before.at(name)), " and is ", Text(value))
                                     : name + " differs");
    }
  }
  for (const auto& [name, value] : before.items()) {
    if (!now.contains(name)) differences.push_back(name + " is gone");
  }
  return differences;
}

}  // namespace gptq
