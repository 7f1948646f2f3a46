#include "io/torch_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "io/checked_size.h"
#include "io/quoted.h"

namespace gptq {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kDamagedTable = "the file is damaged: fetch or save it again";
constexpr std::string_view kSaveAgain = "save the model's state_dict() in float32, float16 or bfloat16";

struct TorchType {
  std::string_view storage;  // torch.<storage>
  std::string_view dtype;    // torch.<dtype>
  DType stored_as;
};

constexpr std::array kTorchTypes = {
    TorchType{"DoubleStorage", "float64", DType::kF64},
    TorchType{"FloatStorage", "float32", DType::kF32},
    TorchType{"HalfStorage", "float16", DType::kF16},
    TorchType{"BFloat16Storage", "bfloat16", DType::kBF16},
    TorchType{"LongStorage", "int64", DType::kI64},
    TorchType{"IntStorage", "int32", DType::kI32},
    TorchType{"ShortStorage", "int16", DType::kI16},
    TorchType{"CharStorage", "int8", DType::kI8},
    TorchType{"ByteStorage", "uint8", DType::kU8},
    TorchType{"BoolStorage", "bool", DType::kBool},
};

struct Global {
  std::string_view module;
  std::string_view name;
};

constexpr Global kOrderedDict{"collections", "OrderedDict"};
constexpr Global kTensorV1{"torch._utils", "_rebuild_tensor"};
constexpr Global kTensorV2{"torch._utils", "_rebuild_tensor_v2"};
constexpr Global kTensorV3{"torch._utils", "_rebuild_tensor_v3"};
constexpr Global kParameter{"torch._utils", "_rebuild_parameter"};
constexpr Global kParameterWithState{"torch._utils", "_rebuild_parameter_with_state"};
constexpr Global kFromType{"torch._tensor", "_rebuild_from_type_v2"};
constexpr std::array kGlobals = {kOrderedDict,
                                 kTensorV1,
                                 kTensorV2,
                                 kTensorV3,
                                 kParameter,
                                 kParameterWithState,
                                 kFromType,
                                 Global{"torch.nn.parameter", "Parameter"},
                                 Global{"torch", "Tensor"},
                                 Global{"torch", "Size"},
                                 Global{"torch", "device"},
                                 Global{"torch.storage", "UntypedStorage"}};

bool Is(const PickleValue& value, const Global& global) { return value.IsGlobal(global.module, global.name); }

const TorchType* FindType(std::string_view name, std::string_view TorchType::*kind) {
  const auto* found = std::ranges::find(kTorchTypes, name, kind);
  return found == kTorchTypes.end() ? nullptr : found;
}

[[noreturn]] void NoTensor(std::string_view what, std::string_view where) {
  throw Error(what, where, kDamagedTable);
}

int64_t ToSize(const PickleValue& value, std::string_view what, std::string_view where) {
  if (value.kind != Kind::kInteger || value.integer < 0) NoTensor(Concat("no ", what), where);
  return value.integer;
}

// A tuple, or torch.Size of one.
Shape ToShape(const PickleValue& value, std::string_view what, std::string_view where) {
  const PickleValue* tuple = &value;
  if (value.kind == Kind::kCall && value.callee->IsGlobal("torch", "Size") &&
      value.arguments->items.size() == 1)
    tuple = value.arguments->items[0];
  if (tuple->kind != Kind::kTuple && tuple->kind != Kind::kList) NoTensor(Concat("no ", what), where);
  if (tuple->items.size() > 64) NoTensor(Concat("a ", what, " of more than 64 dimensions"), where);
  Shape shape;
  for (const PickleValue* item : tuple->items) shape.push_back(ToSize(*item, what, where));
  return shape;
}

// Elements from the first one to behind the last one; nothing when that does not fit 63 bits.
std::optional<int64_t> Span(const Shape& shape, const Shape& strides) {
  std::optional<int64_t> last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    const std::optional<int64_t> step = CheckedMultiply(shape[i] - 1, strides[i]);
    last = step ? CheckedAdd(*last, *step) : std::nullopt;
    if (!last) return std::nullopt;
  }
  return CheckedAdd(*last, 1);
}

void CheckInside(const TorchTableEntry& entry, std::string_view where) {
  const std::optional<int64_t> span = Span(entry.shape, entry.strides);
  const std::optional<int64_t> bytes = CheckedByteSize(entry.dtype, entry.shape);
  const std::optional<int64_t> end = span ? CheckedAdd(entry.offset, *span) : std::nullopt;
  const int64_t storage_bytes = entry.storage.elements * entry.storage.element_bytes();
  const std::optional<int64_t> end_byte =
      end ? CheckedMultiply(*end, Info(entry.dtype).block_bytes) : std::nullopt;
  if (!bytes || !end_byte || *end_byte > storage_bytes) {
    throw Error(Concat("shape ", ToString(entry.shape), " with strides ", ToString(entry.strides),
                       " from element ", entry.offset, " leaves its storage of ", storage_bytes, " bytes"),
                where, kDamagedTable);
  }
  if (*bytes > storage_bytes) {
    throw Error(Concat("shape ", ToString(entry.shape), " repeats the ", storage_bytes,
                       " bytes of its storage, which is not supported"),
                where, "save the tensor's contiguous() copy");
  }
}

// The call that makes the plain tensor, inside parameters and the like; nullptr for no tensor.
const PickleValue* TensorCall(const PickleValue* value) {
  constexpr int kMostWrappers = 4;
  for (int depth = 0; depth < kMostWrappers && value->kind == Kind::kCall; ++depth) {
    const std::vector<const PickleValue*>& arguments = value->arguments->items;
    if (Is(*value->callee, kTensorV1) || Is(*value->callee, kTensorV2) || Is(*value->callee, kTensorV3))
      return value;
    if (arguments.empty()) return nullptr;
    if (Is(*value->callee, kParameter) || Is(*value->callee, kParameterWithState)) {
      value = arguments[0];
    } else {
      return nullptr;
    }
  }
  return nullptr;
}

struct TensorMaker {
  const PickleValue* callee;
  const std::vector<const PickleValue*>* arguments;
};

// ... and with _rebuild_from_type_v2(function, type, arguments, state) looked through.
std::optional<TensorMaker> FindMaker(const PickleValue* value) {
  if (const PickleValue* call = TensorCall(value)) return TensorMaker{call->callee, &call->arguments->items};
  if (value->kind != Kind::kCall || !Is(*value->callee, kFromType)) return std::nullopt;
  const std::vector<const PickleValue*>& outer = value->arguments->items;
  if (outer.size() < 3 || outer[2]->kind != Kind::kTuple) return std::nullopt;
  if (Is(*outer[0], kTensorV2) || Is(*outer[0], kTensorV3)) return TensorMaker{outer[0], &outer[2]->items};
  const bool parameter = Is(*outer[0], kParameter) && !outer[2]->items.empty();
  const PickleValue* call = parameter ? TensorCall(outer[2]->items[0]) : nullptr;
  if (call == nullptr) return std::nullopt;
  return TensorMaker{call->callee, &call->arguments->items};
}

// (storage, offset, shape, strides[, requires_grad, hooks[, dtype]])
TorchTableEntry ParseTensor(const TensorMaker& maker, std::string name, std::string_view where) {
  const std::vector<const PickleValue*>& arguments = *maker.arguments;
  const bool names_dtype = Is(*maker.callee, kTensorV3);
  if (arguments.size() < (names_dtype ? 7 : 4))
    NoTensor("a tensor without storage, shape and strides", where);
  TorchTableEntry entry{.name = std::move(name), .storage = ParseTorchStorage(*arguments[0], where)};
  if (names_dtype) {
    const PickleValue& dtype = *arguments[6];
    const TorchType* type = dtype.kind == Kind::kGlobal ? FindType(dtype.text, &TorchType::dtype) : nullptr;
    if (type == nullptr) NoTensor("a tensor without a known data type", where);
    entry.dtype = type->stored_as;
  } else {
    if (!entry.storage.dtype) NoTensor("a tensor without a data type", where);
    entry.dtype = *entry.storage.dtype;
  }
  entry.offset = ToSize(*arguments[1], "offset of a tensor", where);
  entry.shape = ToShape(*arguments[2], "shape of a tensor", where);
  entry.strides = ToShape(*arguments[3], "strides of a tensor", where);
  if (entry.strides.size() != entry.shape.size())
    NoTensor(Concat("shape ", ToString(entry.shape), " with ", entry.strides.size(), " strides"), where);
  CheckInside(entry, where);
  return entry;
}

using Pairs = std::vector<std::pair<const PickleValue*, const PickleValue*>>;

// The keys and values of a dict or an OrderedDict.
std::optional<Pairs> AsDict(const PickleValue& value) {
  Pairs pairs;
  if (value.kind == Kind::kCall) {
    if (!Is(*value.callee, kOrderedDict)) return std::nullopt;
    // Python 2 hands a list of [key, value] to the constructor.
    if (!value.arguments->items.empty()) {
      for (const PickleValue* pair : value.arguments->items[0]->items) {
        if (pair->items.size() == 2) pairs.emplace_back(pair->items[0], pair->items[1]);
      }
    }
  } else if (value.kind != Kind::kDict) {
    return std::nullopt;
  }
  for (size_t i = 0; i + 1 < value.items.size(); i += 2)
    pairs.emplace_back(value.items[i], value.items[i + 1]);
  return pairs;
}

std::vector<TorchTableEntry> TensorsIn(const Pairs& pairs, std::string_view where) {
  std::map<std::string, TorchTableEntry> tensors;  // as in a dict the last of a name wins
  for (const auto& [key, value] : pairs) {
    const std::optional<TensorMaker> maker = FindMaker(value);
    if (!maker || key->kind != Kind::kText) continue;
    std::string name(key->text);
    tensors[name] = ParseTensor(*maker, name, WhereTensor(where, name));
  }
  std::vector<TorchTableEntry> entries;
  for (auto& [name, entry] : tensors) entries.push_back(std::move(entry));
  return entries;
}

}  // namespace

bool IsTorchGlobal(std::string_view module, std::string_view name) {
  if (module == "torch" && FindType(name, &TorchType::dtype)) return true;
  if ((module == "torch" || module == "torch.cuda") && FindType(name, &TorchType::storage)) return true;
  return std::ranges::any_of(kGlobals, [&](const Global& g) { return g.module == module && g.name == name; });
}

TorchStorage ParseTorchStorage(const PickleValue& persistent, std::string_view where) {
  if (persistent.kind != Kind::kPersistent || persistent.arguments->kind != Kind::kTuple)
    NoTensor("a tensor without storage", where);
  const std::vector<const PickleValue*>& id = persistent.arguments->items;
  if (id.size() < 5 || id[0]->text != "storage" || id[1]->kind != Kind::kGlobal || id[2]->kind != Kind::kText)
    NoTensor("something stored outside of the pickle that is no storage of a tensor", where);
  TorchStorage storage{.key = id[2]->text, .dtype = {}};
  if (const TorchType* type = FindType(id[1]->text, &TorchType::storage)) {
    storage.dtype = type->stored_as;
  } else if (id[1]->text != "UntypedStorage") {
    throw Error(Concat("a storage of the type ", Quoted(id[1]->text)), where, kSaveAgain);
  }
  storage.elements = ToSize(*id[4], "size of a storage", where);
  if (!CheckedMultiply(storage.elements, storage.element_bytes()))
    NoTensor(Concat("a storage of ", storage.elements, " elements"), where);
  if (id.size() < 6 || id[5]->kind == Kind::kNone) return storage;
  if (id[5]->kind != Kind::kTuple || id[5]->items.size() != 3) NoTensor("a damaged view of a storage", where);
  storage.offset = ToSize(*id[5]->items[1], "offset of a view", where);
  const int64_t viewed = ToSize(*id[5]->items[2], "size of a view", where);
  if (storage.offset > storage.elements || viewed > storage.elements - storage.offset)
    NoTensor("a view that leaves its storage", where);
  storage.elements = viewed;
  return storage;
}

std::vector<TorchTableEntry> ParseTorchTable(const PickleValue& root, std::string_view where) {
  const std::optional<Pairs> pairs = AsDict(root);
  if (!pairs) throw Error("a PyTorch file that holds no dict of tensors", where, kSaveAgain);
  std::vector<TorchTableEntry> entries = TensorsIn(*pairs, where);
  for (const std::string_view inner : {"state_dict", "model", "module"}) {
    if (!entries.empty()) break;
    const auto found = std::ranges::find_if(*pairs, [&](const auto& pair) {
      return pair.first->kind == Kind::kText && pair.first->text == inner;
    });
    if (found == pairs->end()) continue;
    if (const std::optional<Pairs> nested = AsDict(*found->second)) entries = TensorsIn(*nested, where);
  }
  if (entries.empty()) throw Error("a PyTorch file without tensors", where, kSaveAgain);
  return entries;
}

}  // namespace gptq
