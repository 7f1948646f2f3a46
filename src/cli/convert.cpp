#include "workflow/convert.h"

#include "cli/command.h"
#include "report/html.h"
#include "workflow/resolve_options.h"

namespace gptq {
namespace {

struct ConvertCommandOptions {
  std::string model, output, architecture, format, type;
  std::optional<int> embedding_bits, head_bits;
  bool overwrite = false, dry_run = false;
};

void RunConvert(const ConvertCommandOptions& asked, CommandContext& context) {
  ConvertOptions options;
  options.model = asked.model;
  options.output = asked.output;
  options.architecture = asked.architecture;
  options.overwrite = asked.overwrite;
  options.dry_run = asked.dry_run;
  options.format = ParseWeightFormat(asked.format);
  if (!asked.type.empty()) options.type = ParseStoredType(asked.type);
  options.ends = ParseEndTypes(asked.embedding_bits, asked.head_bits);
  const std::unique_ptr<Backend> backend = context.MakeBackend();
  const ConvertReport report = Convert(options, *backend, context.progress());
  std::string text = Concat(asked.output, ": ", report.quantized_linears, " quantized linears, codes of ",
                            report.kept_linears, " kept");
  if (!asked.dry_run)
    text +=
        "; " + CountText(report.bytes_before) + " bytes of tensors became " + CountText(report.bytes_after);
  context.SetResult(ToJson(report), text + "\n");
}

}  // namespace

void AddConvertCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<ConvertCommandOptions>();
  CLI::App* command = app.add_subcommand("convert", "Write a model in another format");
  command->add_option("MODEL", options->model, "Model folder or .gguf file")->required();
  command->add_option("--output", options->output, "Folder to write, for gguf the file")->required();
  command
      ->add_option(
          "--format", options->format,
          "gptq, gptq_v2, compressed-tensors: quantized folders; gguf: a file; safetensors: a folder "
          "of floats")
      ->required()
      ->check(CLI::IsMember({"gptq", "gptq_v2", "compressed-tensors", "gguf", "safetensors"}));
  command->add_option("--type", options->type,
                      "Of the linears in gguf (f32, f16, bf16, q8_0, q4_0, q4_k ...) or of the floats in "
                      "safetensors; default: what loses least");
  command->add_option("--embedding-bits", options->embedding_bits, "In gguf: 16, 8, 6 or 4")
      ->check(CLI::IsMember({16, 8, 6, 4}));
  command->add_option("--head-bits", options->head_bits, "In gguf: 16, 8, 6 or 4")
      ->check(CLI::IsMember({16, 8, 6, 4}));
  command->add_flag("--overwrite", options->overwrite, "Replace the output if it exists");
  command->add_flag("--dry-run", options->dry_run, "Only say what would be kept and what lost");
  command->add_option("--architecture", options->architecture,
                      "Architecture file instead of the built-in ones");
  command->callback([options, &context] { RunConvert(*options, context); });
}

}  // namespace gptq
