#include "workflow/inspect.h"

#include "cli/command.h"
#include "report/html.h"

namespace gptq {
namespace {

void RunInspect(const std::string& path, CommandContext& context) {
  Json report = InspectModel(path);
  std::string text;
  for (const char* key :
       {"architecture", "license", "parameters", "bytes", "vocabulary", "context", "quantization", "types"}) {
    if (!report.contains(key) || report.at(key).is_null()) continue;
    const Json& value = report.at(key);
    text += Format("%-14s ", key) +
            (value.is_number_integer() ? CountText(value.get<int64_t>())
             : value.is_string()       ? value.get<std::string>()
                                       : Dump(value)) +
            "\n";
  }
  text += "\n";
  for (const Json& tensor : report.at("tensors")) {
    text += Format("%-6s %-16s ", tensor.at("dtype").get<std::string>().c_str(),
                   ToString(tensor.at("shape").get<Shape>()).c_str()) +
            tensor.at("name").get<std::string>() + "\n";
  }
  context.SetResult(std::move(report), text);
}

}  // namespace

void AddInspectCommand(CLI::App& app, CommandContext& context) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a model is made of");
  command->add_option("MODEL", *path, "Model folder or .gguf file")->required();
  command->callback([path, &context] { RunInspect(*path, context); });
}

}  // namespace gptq
