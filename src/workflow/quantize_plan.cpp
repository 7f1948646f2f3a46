#include "workflow/quantize_plan.h"

#include <optional>

#include "base/gguf_block.h"
#include "base/name_pattern.h"
#include "quant/gguf_format.h"
#include "quant/gguf_tile.h"
#include "quant/gptq_format.h"

namespace gptq {
namespace {

// A user's regular expression, and whether it ever matched.
struct LinearPattern {
  std::string text, option;
  std::optional<NamePattern> pattern;
  bool used = false;

  LinearPattern(std::string expression, std::string option_name)
      : text(std::move(expression)), option(std::move(option_name)) {
    pattern = NamePattern::Parse(text);
    if (!pattern)
      throw UsageError(
          Concat(option, " '", text, "' is not a regular expression of at most 1000 characters"));
  }
  bool Matches(const std::string& name) {
    const bool matches = pattern->MatchesPart(name);
    used = used || matches;
    return matches;
  }
  void CheckUsed() const {
    if (!used) throw UsageError(Concat(option, " '", text, "' matches no linear of the model"));
  }
};

// One line for each thing that readers will say, however many linears it concerns.
class ShapeWarningCollector {
 public:
  void Add(const PlannedLinear& linear) {
    for (const std::string& warning : ShapeWarnings(linear.rows, linear.columns, linear.settings))
      Add(linear, warning);
  }
  void Add(const PlannedLinear& linear, const std::string& warning) {
    Entry& entry = entries_[warning];
    if (entry.count++ == 0) entry.first = Concat(linear.name, " [", linear.rows, ", ", linear.columns, "]: ");
  }
  void Tell(Progress& progress) const {
    for (const auto& [message, entry] : entries_) {
      progress.Warn(Concat(entry.first, message,
                           entry.count > 1 ? Concat(" (and ", entry.count - 1, " more linears)") : ""));
    }
  }

 private:
  struct Entry {
    std::string first;
    int64_t count = 0;
  };
  std::map<std::string, Entry> entries_;
};

void SetSettings(WeightFormat format, PlannedLinear& planned) {
  planned.settings = {planned.solver.bits, planned.solver.group_size, planned.solver.symmetric, format};
}

// The type that keeps the linear's codes in a GGUF file; otherwise says why there is none.
std::string ChooseType(PlannedLinear& planned) {
  const SolverOptions& solver = planned.solver;
  const bool sequential = solver.order != Order::kActivation || solver.static_groups;
  const GgufChoice choice = ChooseGgufType(
      {solver.bits, solver.symmetric, planned.columns, solver.group_size, sequential, solver.scale_type});
  if (!choice.type) return choice.reason;
  planned.type = *choice.type;
  return "";
}

// Codes that lie in wider fields than theirs: the type -> how many linears.
class WideCodes {
 public:
  void Count(const PlannedLinear& planned) {
    SolverOptions own;
    SetGgufType(planned.type, own);
    if (own.bits > planned.solver.bits) ++counts_[{planned.solver.bits, planned.type}];
  }
  void Tell(Progress& progress) const {
    for (const auto& [kind, count] : counts_) {
      const auto& [bits, type] = kind;
      const double stored = 8 * static_cast<double>(ByteSize(type, kMostBlockColumns)) / kMostBlockColumns;
      progress.Note(Concat("codes of ", bits, " bits take ", stored, " bits per weight in GGUF, as ",
                           Name(type), ", in ", count, " linears; --type chooses another type"));
    }
  }

 private:
  std::map<std::pair<int, DType>, int64_t> counts_;
};

// The type that was asked for, or what its rows can have instead; says which, or that there is none.
std::string TakeType(DType wanted, PlannedLinear& planned) {
  planned.type = FittingGgufType(wanted, planned.columns);
  const std::string unfilled = Concat("its rows do not fill the blocks of ", Name(wanted));
  if (!IsBlockType(planned.type)) return unfilled + "; left as it is";
  SetGgufType(planned.type, planned.solver);
  SetSettings(WeightFormat::kGguf, planned);
  return planned.type == wanted ? "" : Concat(unfilled, "; it becomes ", Name(planned.type));
}

// --head-bits; nothing where it cannot be had.
std::optional<PlannedLinear> PlanHead(const QuantizeOptions& options, const ModelSpec& spec,
                                      ShapeWarningCollector& warnings) {
  if (spec.tied_head) {
    throw UsageError(options.format == WeightFormat::kGguf
                         ? "--head-bits: this model's head is its embedding; use --embedding-bits"
                         : "--head-bits: this model's head is its embedding, which stays as it is");
  }
  PlannedLinear head{spec.Name("head"), spec.vocabulary, spec.embedding_width, options.solver, {}};
  head.solver.bits = options.head_bits;
  SetSettings(options.format, head);
  if (options.format != WeightFormat::kGguf) {
    warnings.Add(head);
    return head;
  }
  if (head.solver.order == Order::kActivation && !head.solver.static_groups)
    head.solver.order = Order::kGroup;
  const std::string change = TakeType(*options.ends.head, head);
  if (!change.empty()) warnings.Add(head, change);
  return IsBlockType(head.type) ? std::optional(head) : std::nullopt;
}

}  // namespace

LayerReport DescribeLayer(const PlannedLinear& planned) {
  LayerReport layer;
  layer.name = planned.name;
  layer.rows = planned.rows;
  layer.columns = planned.columns;
  layer.bits = planned.solver.bits;
  layer.group_size = planned.solver.group_size;
  if (IsBlockType(planned.type)) layer.type = Name(planned.type);
  return layer;
}

QuantizePlan MakePlan(const QuantizeOptions& options, const std::map<std::string, LinearChoice>& choices,
                      Decoder& decoder, Progress& progress) {
  std::vector<LinearPattern> skip;
  for (const std::string& text : options.skip) skip.emplace_back(text, "--skip");
  std::vector<std::pair<LinearPattern, int>> bits_for;
  for (const auto& [text, bits] : options.bits_for)
    bits_for.emplace_back(LinearPattern(text, "--bits-for"), bits);

  QuantizePlan plan;
  ShapeWarningCollector warnings;
  WideCodes wide;
  for (const Block& block : decoder.blocks()) {
    for (const Stage& stage : block.stages()) {
      for (const LinearLayer& linear : stage.linears) {
        bool skipped = false;
        for (LinearPattern& pattern : skip) skipped = pattern.Matches(linear.name) || skipped;
        if (skipped) continue;
        PlannedLinear planned{linear.name, linear.weight.rows(), linear.weight.columns(), options.solver, {}};
        std::optional<DType> type = options.type;
        if (const auto choice = choices.find(linear.name); choice != choices.end()) {
          planned.solver = choice->second.Solver(planned.columns, options.solver);
          type = choice->second.type;
        }
        for (auto& [pattern, bits] : bits_for) {
          if (pattern.Matches(linear.name)) planned.solver.bits = bits;
        }
        SetSettings(options.format, planned);
        if (!HoldsBits(options.format, planned.solver.bits)) {
          throw UsageError(Concat("--format ", Name(options.format), " holds ", BitsOf(options.format),
                                  ", not ", planned.solver.bits));
        }
        if (type) {
          const std::string change = TakeType(*type, planned);
          if (!change.empty()) warnings.Add(planned, change);
          if (!IsBlockType(planned.type)) continue;
        } else if (options.format == WeightFormat::kGguf) {
          const std::string reason = ChooseType(planned);
          if (!reason.empty()) {
            warnings.Add(planned, reason + "; left as it is");
            continue;
          }
          wide.Count(planned);
        } else {
          warnings.Add(planned);
        }
        plan.emplace(linear.name, std::move(planned));
      }
    }
  }
  if (options.head_bits < 16) {
    if (std::optional<PlannedLinear> head = PlanHead(options, decoder.spec(), warnings))
      plan.emplace(head->name, *std::move(head));
  }
  warnings.Tell(progress);
  wide.Tell(progress);
  for (const LinearPattern& pattern : skip) pattern.CheckUsed();
  for (const auto& [pattern, bits] : bits_for) pattern.CheckUsed();
  if (plan.empty()) {
    throw UsageError(options.format == WeightFormat::kGguf
                         ? "--format gguf has no type for any of the linears left"
                         : "--skip leaves nothing to quantize");
  }
  return plan;
}

double BitsPerWeight(const QuantizePlan& plan) {
  double bits = 0, weights = 0;
  for (const auto& [name, linear] : plan) {
    weights += static_cast<double>(linear.rows) * static_cast<double>(linear.columns);
    if (IsBlockType(linear.type)) {
      bits += 8 * static_cast<double>(ByteSize(linear.type, linear.rows * linear.columns));
    } else {
      bits += StoredBits(linear.rows, linear.columns, linear.solver);
    }
  }
  return bits / weights;
}

}  // namespace gptq
