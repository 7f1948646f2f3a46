#include "io/pickle.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "io/quoted.h"

namespace gptq {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMostValues = 4'000'000;  // some hundred thousand tensors; about 400 MB
constexpr std::string_view kDamagedPickle = "the file is damaged: fetch it again";

// Opcodes as pickletools names them.
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kList = 'l',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObject = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

}  // namespace

// The stack machine that a pickle is a program for. Every opcode takes at least one byte and makes at most
// one value, so that time and memory are bounded by the size of the file.
class PickleParser {
 public:
  PickleParser(std::string_view bytes, const Pickle::Allowed& allowed, std::string_view where)
      : bytes_(bytes), allowed_(allowed), where_(where) {}

  Pickle Parse() {
    while (true) {
      const auto op = static_cast<Op>(Take(1)[0]);
      if (op == kStop) break;
      if (!PushScalar(op) && !PushText(op) && !ChangeStack(op) && !ChangeContainer(op) && !ChangeMemo(op) &&
          !PushObject(op)) {
        Damaged(Concat("a pickle with the opcode ", static_cast<int>(op), ", which is not read"));
      }
    }
    pickle_.root_ = Pop();
    pickle_.size_ = at_;
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void Damaged(std::string_view what) const {
    throw Error(Concat(what, " (byte ", at_, ")"), where_, kDamagedPickle);
  }

  std::string_view Take(uint64_t count) {
    if (count > bytes_.size() - at_) Damaged("a pickle that ends too early");
    const std::string_view taken = bytes_.substr(at_, static_cast<size_t>(count));
    at_ += static_cast<size_t>(count);
    return taken;
  }

  template <typename Number>
  Number TakeNumber() {
    Number number;
    std::memcpy(&number, Take(sizeof(Number)).data(), sizeof(Number));
    return number;
  }

  std::string_view TakeLine() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) Damaged("a pickle that ends too early");
    const std::string_view line = Take(end - at_);
    Take(1);
    return line;
  }

  PickleValue& Push(Kind kind) {
    if (pickle_.values_.size() == kMostValues)
      Damaged(Concat("a pickle of more than ", kMostValues, " values"));
    pickle_.values_.emplace_back().kind = kind;
    stack_.push_back(&pickle_.values_.back());
    return pickle_.values_.back();
  }

  PickleValue* Top() const {
    const size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= floor) Damaged("a pickle that takes more than it made");
    return stack_.back();
  }

  PickleValue* Pop() {
    PickleValue* value = Top();
    stack_.pop_back();
    return value;
  }

  // Everything since the last mark, which goes.
  std::vector<const PickleValue*> PopToMark() {
    if (marks_.empty()) Damaged("a pickle without the mark that it goes back to");
    const auto begin = stack_.begin() + static_cast<ptrdiff_t>(marks_.back());
    std::vector<const PickleValue*> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }

  void PushInteger(Kind kind, int64_t integer) { Push(kind).integer = integer; }

  void PushLong(size_t size) {
    const std::string_view bytes = Take(size);
    if (size > 8) {
      Push(Kind::kBigInteger).text = bytes;
      return;
    }
    uint64_t number = size > 0 && static_cast<signed char>(bytes.back()) < 0 ? ~uint64_t{0} : 0;
    for (size_t i = size; i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[i]);
    PushInteger(Kind::kInteger, static_cast<int64_t>(number));
  }

  bool PushScalar(Op op) {
    switch (op) {
      case kNone:
        Push(Kind::kNone);
        return true;
      case kNewTrue:
      case kNewFalse:
        PushInteger(Kind::kBool, op == kNewTrue);
        return true;
      case kBinInt:
        PushInteger(Kind::kInteger, TakeNumber<int32_t>());
        return true;
      case kBinInt1:
        PushInteger(Kind::kInteger, TakeNumber<uint8_t>());
        return true;
      case kBinInt2:
        PushInteger(Kind::kInteger, TakeNumber<uint16_t>());
        return true;
      case kLong1:
        PushLong(TakeNumber<uint8_t>());
        return true;
      case kLong4:
        PushLong(TakeNumber<uint32_t>());
        return true;
      case kBinFloat: {
        uint64_t bits = 0;  // big-endian
        for (const char byte : Take(8)) bits = bits << 8 | static_cast<unsigned char>(byte);
        Push(Kind::kFloat).real = std::bit_cast<double>(bits);
        return true;
      }
      default:
        return false;
    }
  }

  bool PushText(Op op) {
    const auto push = [&](Kind kind, uint64_t size) {
      const std::string_view text = Take(size);
      Push(kind).text = text;
      return true;
    };
    switch (op) {
      case kShortBinString:  // Python 2's str
      case kShortBinUnicode:
        return push(Kind::kText, TakeNumber<uint8_t>());
      case kBinString:
      case kBinUnicode:
        return push(Kind::kText, TakeNumber<uint32_t>());
      case kBinUnicode8:
        return push(Kind::kText, TakeNumber<uint64_t>());
      case kShortBinBytes:
        return push(Kind::kBytes, TakeNumber<uint8_t>());
      case kBinBytes:
        return push(Kind::kBytes, TakeNumber<uint32_t>());
      case kBinBytes8:
        return push(Kind::kBytes, TakeNumber<uint64_t>());
      default:
        return false;
    }
  }

  bool ChangeStack(Op op) {
    switch (op) {
      case kProto:
        if (const auto protocol = TakeNumber<uint8_t>(); protocol < 2 || protocol > 5)
          Damaged(Concat("a pickle of protocol ", static_cast<int>(protocol), ", 2 to 5 are read"));
        return true;
      case kFrame:
        Take(8);
        return true;
      case kMark:
        marks_.push_back(stack_.size());
        return true;
      case kPop:
        Pop();
        return true;
      case kPopMark:
        PopToMark();
        return true;
      case kDup:
        stack_.push_back(Top());
        return true;
      default:
        return false;
    }
  }

  void PushTuple(size_t size) {
    std::vector<const PickleValue*> items(size);
    while (size > 0) items[--size] = Pop();
    Push(Kind::kTuple).items = std::move(items);
  }

  void PushItems(Kind kind) {
    std::vector<const PickleValue*> items = PopToMark();
    if (kind == Kind::kDict && items.size() % 2 != 0) Damaged("a dict with a key without a value");
    Push(kind).items = std::move(items);
  }

  void AddItems(bool pairs, const std::vector<const PickleValue*>& items) {
    PickleValue* target = Top();
    const bool fits =
        pairs ? target->kind == Kind::kDict || target->kind == Kind::kCall : target->kind == Kind::kList;
    if (!fits || (pairs && items.size() % 2 != 0)) Damaged("a pickle that adds items to what holds none");
    target->items.insert(target->items.end(), items.begin(), items.end());
  }

  bool ChangeContainer(Op op) {
    switch (op) {
      case kEmptyTuple:
        Push(Kind::kTuple);
        return true;
      case kEmptyList:
        Push(Kind::kList);
        return true;
      case kEmptyDict:
        Push(Kind::kDict);
        return true;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        PushTuple(static_cast<size_t>(op - kTuple1) + 1);
        return true;
      case kTuple:
        PushItems(Kind::kTuple);
        return true;
      case kList:
        PushItems(Kind::kList);
        return true;
      case kDict:
        PushItems(Kind::kDict);
        return true;
      case kAppend: {
        const PickleValue* item = Pop();
        AddItems(false, {item});
        return true;
      }
      case kAppends:
        AddItems(false, PopToMark());
        return true;
      case kSetItem: {
        const PickleValue* value = Pop();
        const PickleValue* key = Pop();
        AddItems(true, {key, value});
        return true;
      }
      case kSetItems:
        AddItems(true, PopToMark());
        return true;
      default:
        return false;
    }
  }

  bool ChangeMemo(Op op) {
    const auto get = [&](uint32_t index) {
      const auto found = memo_.find(index);
      if (found == memo_.end()) Damaged("a pickle that recalls what it never memorized");
      stack_.push_back(found->second);
      return true;
    };
    switch (op) {
      case kBinPut:
        memo_[TakeNumber<uint8_t>()] = Top();
        return true;
      case kLongBinPut:
        memo_[TakeNumber<uint32_t>()] = Top();
        return true;
      case kMemoize:
        memo_[static_cast<uint32_t>(memo_.size())] = Top();
        return true;
      case kBinGet:
        return get(TakeNumber<uint8_t>());
      case kLongBinGet:
        return get(TakeNumber<uint32_t>());
      default:
        return false;
    }
  }

  void PushGlobal(std::string_view module, std::string_view name) {
    if (!allowed_(module, name)) {
      throw Error(Concat("the file asks for Python's ", Quoted(Concat(module, ".", name)),
                         ", which is refused: it is no part of a table of tensors"),
                  where_,
                  "do not trust the file, or save the model's state_dict() alone, best as safetensors");
    }
    PickleValue& value = Push(Kind::kGlobal);
    value.module = module;
    value.text = name;
  }

  bool PushObject(Op op) {
    switch (op) {
      case kGlobal: {
        const std::string_view module = TakeLine();
        PushGlobal(module, TakeLine());
        return true;
      }
      case kStackGlobal: {
        const PickleValue* name = Pop();
        const PickleValue* module = Pop();
        if (name->kind != Kind::kText || module->kind != Kind::kText) Damaged("a global without a name");
        PushGlobal(module->text, name->text);
        return true;
      }
      case kReduce:
      case kNewObject: {
        const PickleValue* arguments = Pop();
        const PickleValue* callee = Pop();
        if (callee->kind != Kind::kGlobal || arguments->kind != Kind::kTuple)
          Damaged("a pickle that calls what is no function");
        PickleValue& value = Push(Kind::kCall);
        value.callee = callee;
        value.arguments = arguments;
        return true;
      }
      case kBuild:  // attributes of the value below: nothing that tensors need
        Pop();
        if (Top()->kind != Kind::kCall) Damaged("a pickle that sets attributes of a plain value");
        return true;
      case kBinPersId: {
        const PickleValue* id = Pop();
        Push(Kind::kPersistent).arguments = id;
        return true;
      }
      default:
        return false;
    }
  }

  std::string_view bytes_;
  const Pickle::Allowed& allowed_;
  std::string_view where_;
  size_t at_ = 0;
  Pickle pickle_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, PickleValue*> memo_;
};

Pickle Pickle::Parse(std::string_view bytes, const Allowed& allowed, std::string_view where) {
  return PickleParser(bytes, allowed, where).Parse();
}

}  // namespace gptq
