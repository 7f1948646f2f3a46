#include "workflow/quantize_output.h"

#include <algorithm>

#include "io/output_folder.h"

namespace gptq {
namespace {

namespace fs = std::filesystem;

// A folder that holds what a run of quantize leaves when it is stopped, and nothing else.
bool IsUnfinishedWork(const fs::path& folder) {
  return std::ranges::all_of(fs::directory_iterator(folder), [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    return name == kCheckpoint || name == "activations" || name.starts_with("boundary.") ||
           name.starts_with("journal.json");
  });
}

bool HoldsModel(const fs::path& folder) {
  if (fs::is_empty(folder) || fs::exists(folder / "config.json")) return true;
  return std::ranges::any_of(fs::directory_iterator(folder), [](const fs::directory_entry& entry) {
    return entry.path().extension() == ".safetensors";
  });
}

// `inner` is `outer` or lies somewhere in it.
bool Contains(const fs::path& outer, const fs::path& inner) {
  const fs::path a = fs::weakly_canonical(outer), b = fs::weakly_canonical(inner);
  return std::ranges::mismatch(a, b).in1 == a.end();
}

}  // namespace

void CheckOutputPath(const fs::path& output, bool overwrite, const fs::path& model) {
  const fs::path path = output.has_filename() ? output : output.parent_path();
  const fs::path partial = PartialPath(path);
  if (fs::is_directory(partial) && !HoldsModel(partial) && !IsUnfinishedWork(partial)) {
    throw Error("a folder of this name is needed for unfinished work, but holds something else",
                partial.string(), "move it away or choose another --output");
  }
  if (!fs::exists(path)) return;
  if (!overwrite)
    throw Error("the output exists already", path.string(),
                "choose another --output, or replace it by --overwrite");
  if (Contains(path, model)) {
    throw Error("the output would replace the model that is read", path.string(), "choose another --output");
  }
  if (fs::is_regular_file(path) && !GgufFile::LooksLike(path)) {
    throw Error("--overwrite replaces GGUF files only, this file is none", path.string(),
                "choose another --output");
  }
  if (fs::is_directory(path) && !HoldsModel(path)) {
    throw Error("--overwrite replaces model folders only, this one holds something else", path.string(),
                "choose another --output");
  }
}

std::unique_ptr<OutputForm> FormOf(const QuantizeJob& job, const QuantizationConfig& config) {
  OutputLinears linears;
  for (const auto& [name, planned] : job.plan) {
    const SolverOptions& solver = planned.solver;
    const bool sequential = solver.order != Order::kActivation || solver.static_groups;
    linears[name] = {
        {planned.rows, planned.columns, solver.GroupCount(planned.columns), solver.scale_type, sequential},
        planned.settings,
        planned.type};
  }
  if (job.options.format == WeightFormat::kGguf) {
    std::map<std::string, DType> types;
    EndTypes ends = job.options.ends;
    if (job.options.head_bits < 16) ends.head.reset();  // it is one of the linears
    AddEndTypes(job.model->spec(), ends, types);
    return MakeGgufForm(*job.model, std::move(linears), std::move(types));
  }
  return MakeFolderForm(*job.model, std::move(linears), config, job.side_files);
}

}  // namespace gptq
