// What a run of quantize writes down after every block, so that another run can go on from there.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "workflow/bit_allocation.h"
#include "workflow/quantize_report.h"

namespace gptq {

struct QuantizeJournal {
  // All that decides the result (workflow/quantize_settings.h), and what may change its last bits.
  Json settings;
  std::string arithmetic;
  std::map<std::string, LinearChoice> choices;  // of --target-bits
  int64_t blocks_done = 0;                      // may be 0, with choices
  WorkReport work;
  Json boundary;  // of ActivationStore::FinishBoundary
};

// PATH.partial/journal.json
std::filesystem::path JournalPath(const std::filesystem::path& partial);

// In one step: what was written before stays until all of the new is on the disk.
void WriteJournal(const std::filesystem::path& partial, const QuantizeJournal& journal);
// Absent where there is none. Throws Error where it is damaged or written by another version.
std::optional<QuantizeJournal> ReadJournal(const std::filesystem::path& partial);

// One short text for each setting that differs: "--bits was 4 and is 3".
std::vector<std::string> DescribeDifferences(const Json& before, const Json& now);

}  // namespace gptq
