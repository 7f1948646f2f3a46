#include "base/convert.h"
#include "cli/command.h"
#include "cli/solver_options.h"
#include "io/output_folder.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"
#include "quant/solve_matrix.h"

namespace gptq {
namespace {

struct SolveCommandOptions {
  std::string input, output;
  bool overwrite = false;
  QualityOptions solver;
};

Tensor ReadMatrix(const SafetensorsFile& file, const char* name) {
  const TensorView view = file.Get(name);
  if (view.shape.size() != 2 || view.elements() == 0 || !IsFloat(view.dtype)) {
    throw Error(Concat("'", name, "' is ", Name(view.dtype), " ", ToString(view.shape),
                       ", must be a matrix of floats"),
                file.path().string(), "write the file again");
  }
  return ToFloat(view);
}

template <typename T>
Tensor ToTensor(DType dtype, const Shape& shape, const std::vector<T>& values) {
  Tensor tensor = Tensor::Uninitialized(dtype, shape);
  std::ranges::copy(values, tensor.As<T>().begin());
  return tensor;
}

void WriteResult(const SolveCommandOptions& options, const SolveResult& result) {
  const Shape matrix{result.rows, result.columns}, grids{result.rows, result.groups};
  const Tensor dequantized = ToTensor(DType::kF32, matrix, result.dequantized);
  const Tensor codes = ToTensor(DType::kU8, matrix, result.codes);
  const Tensor scales = ToTensor(DType::kF32, grids, result.scales),
               zeros = ToTensor(DType::kF32, grids, result.zeros);
  const Tensor group_index = ToTensor(DType::kI32, {result.columns}, result.group_index);
  OutputFile output(options.output, options.overwrite);
  WriteSafetensors(output.file(), {{"dequantized", dequantized.view()},
                                   {"codes", codes.view()},
                                   {"scales", scales.view()},
                                   {"zeros", zeros.view()},
                                   {"group_index", group_index.view()}});
  output.Commit();
}

void RunSolve(const SolveCommandOptions& options, CommandContext& context) {
  const SolverOptions solver = ResolveSolverOptions(options.solver, DType::kF32);
  const Method method = ParseMethod(options.solver.method);
  const SafetensorsFile file = SafetensorsFile::Open(options.input);
  const Tensor weight_values = ReadMatrix(file, "weight");
  const ConstMatrixView weight =
      ConstMatrix(weight_values.As<float>().data(), weight_values.shape()[0], weight_values.shape()[1]);
  const std::unique_ptr<Backend> backend = context.MakeBackend();

  Tensor given;
  Hessian summed;
  HessianView hessian;
  if (file.Find("hessian")) {
    given = ReadMatrix(file, "hessian");
    if (given.shape() != Shape{weight.columns, weight.columns}) {
      throw Error(Concat("'hessian' is ", ToString(given.shape()), ", must be [", weight.columns, ", ",
                         weight.columns, "]"),
                  options.input, "write the file again");
    }
    const std::span<const float> values = given.As<float>();
    summed = {weight.columns, 0, std::vector<float>(values.begin(), values.end())};
    if (const int64_t repaired = RepairHessian(summed); repaired > 0) {
      context.progress().Warn(Concat("the Hessian has NaN or infinite entries; ", repaired,
                                     " inputs were cut loose and their weights rounded to nearest"));
    }
    hessian = summed.view();
  } else if (file.Find("inputs")) {
    given = ReadMatrix(file, "inputs");
    summed = HessianOfInputs(ConstMatrix(given.As<float>().data(), given.shape()[0], given.shape()[1]),
                             options.input, backend->pool());
    hessian = summed.view();
  } else {
    throw Error("neither 'hessian' nor 'inputs' is in the file", options.input, "add one of them");
  }
  const MatrixSolution solution =
      SolveMatrix(weight, hessian, method, solver, options.input, backend->pool());
  for (const std::string& warning : solution.warnings) context.progress().Warn(warning);
  WriteResult(options, solution.result);
  context.SetResult({{"output", options.output},
                     {"loss", solution.loss},
                     {"relative_error", solution.relative_error},
                     {"damping", solution.damping}},
                    Format("%s: loss %.6g, relative error %.6g, damping %g\n", options.output.c_str(),
                           solution.loss, solution.relative_error, solution.damping));
}

}  // namespace

void AddSolveCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<SolveCommandOptions>();
  CLI::App* command = app.add_subcommand("solve", "Quantize one matrix");
  command
      ->add_option("INPUT", options->input, "safetensors with weight [rows, columns] and hessian or inputs")
      ->required();
  command->add_option("--output", options->output, "safetensors file to write")->required();
  command->add_flag("--overwrite", options->overwrite, "Replace the output if it exists");
  AddSolverOptions(command, &options->solver);
  command->callback([options, &context] { RunSolve(*options, context); });
}

}  // namespace gptq
