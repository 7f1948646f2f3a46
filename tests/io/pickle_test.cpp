#include "io/pickle.h"

#include "tests/io/file_builders.h"
#include "tests/test_util.h"

namespace gptq {
namespace pickle_test {

using namespace std::string_literals;
using Kind = PickleValue::Kind;

const std::string kProtocol2 = "\x80\x02";

bool OnlyOrderedDict(std::string_view module, std::string_view name) {
  return module == "collections" && name == "OrderedDict";
}

Pickle Parse(const std::string& bytes) { return Pickle::Parse(bytes, OnlyOrderedDict, "file"); }

TEST(Pickle, Scalars) {
  // (None, True, -2, 300, 2**40, -1 as a long, 0.5, "é", b"x")
  const std::string bytes = kProtocol2 + "(N\x88J\xfe\xff\xff\xffM\x2c\x01\x8a\x06" +
                            std::string("\0\0\0\0\0\x01", 6) + "\x8a\x01\xffG\x3f\xe0" +
                            std::string(6, '\0') + "\x8c\x02\u00e9" + "C\x01xt.rest";
  const Pickle pickle = Parse(bytes);
  ASSERT_EQ(pickle.root().kind, Kind::kTuple);
  const auto& items = pickle.root().items;
  ASSERT_EQ(items.size(), 9u);
  EXPECT_EQ(items[0]->kind, Kind::kNone);
  EXPECT_EQ(items[1]->integer, 1);
  EXPECT_EQ(items[2]->integer, -2);
  EXPECT_EQ(items[3]->integer, 300);
  EXPECT_EQ(items[4]->integer, int64_t{1} << 40);
  EXPECT_EQ(items[5]->integer, -1);
  EXPECT_EQ(items[6]->real, 0.5);
  EXPECT_EQ(items[7]->text, "\u00e9");
  EXPECT_EQ(items[8]->kind, Kind::kBytes);
  EXPECT_EQ(pickle.size(), bytes.size() - 4);
}

TEST(Pickle, ContainersAndMemo) {
  // d = OrderedDict(); d["a"] = [1, 2]; d["b"] = d["a"]
  const std::string bytes = kProtocol2 +
                            "ccollections\nOrderedDict\n)R(\x8c\x01"
                            "a](K\x01K\x02"
                            "eq\x05\x8c\x01"
                            "bh\x05u.";
  const Pickle pickle = Parse(bytes);
  const PickleValue& dict = pickle.root();
  ASSERT_EQ(dict.kind, Kind::kCall);
  EXPECT_TRUE(dict.callee->IsGlobal("collections", "OrderedDict"));
  ASSERT_EQ(dict.items.size(), 4u);
  EXPECT_EQ(dict.items[1], dict.items[3]);
  EXPECT_EQ(dict.items[1]->items[1]->integer, 2);
}

TEST(Pickle, ListThatHoldsItself) {
  const std::string bytes = kProtocol2 + "]q\0h\0a."s;
  const Pickle pickle = Parse(bytes);
  EXPECT_EQ(pickle.root().items[0], &pickle.root());
}

TEST(Pickle, RefusesCodeByName) {
  EXPECT_ERROR(Parse(kProtocol2 + "cos\nsystem\n\x8c\x02ls\x85R."),
               "Python's \"os.system\", which is refused");
  EXPECT_ERROR(Parse(kProtocol2 + "cbuiltins\neval\n."), "\"builtins.eval\"");
  EXPECT_ERROR(Parse("\x80\x04\x8c\x05posix\x8c\x06system\x93."), "\"posix.system\"");
  // Nor by a way around: attributes of what is allowed.
  EXPECT_ERROR(Parse("\x80\x04\x8c\x0b"
                     "collections\x8c\x11"
                     "OrderedDict.clear\x93."),
               "\"collections.OrderedDict.clear\"");
  EXPECT_ERROR(Parse(kProtocol2 + "(ios\nsystem\n."), "opcode 105");  // INST
  EXPECT_ERROR(Parse(kProtocol2 + "\x82\x01."), "opcode 130");        // EXT1
  EXPECT_ERROR(Parse(kProtocol2 + "K\x01)R."), "calls what is no function");
}

TEST(Pickle, DamagedOnesAreErrors) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "ends too early"},
      {"\x80", "ends too early"},
      {"\x80\x09.", "protocol 9"},
      {kProtocol2 + ".", "takes more than it made"},
      {kProtocol2 + "K\x01(.", "takes more than it made"},
      {kProtocol2 + "t.", "without the mark"},
      {kProtocol2 + "K\x01", "ends too early"},
      {kProtocol2 + "X\xff\xff\xff\x7fshort.", "ends too early"},
      {kProtocol2 + "\x8d\xff\xff\xff\xff\xff\xff\xff\xffshort.", "ends too early"},
      {kProtocol2 + "h\x01.", "never memorized"},
      {kProtocol2 + "(K\x01"
                    "d.",
       "a key without a value"},
      {kProtocol2 + "K\x01K\x02"
                    "a.",
       "adds items"},
      {kProtocol2 + "}K\x02"
                    "a.",
       "adds items"},
      {kProtocol2 + "}K\x02"
                    "b.",
       "attributes of a plain value"},
      {kProtocol2 + "cno end", "ends too early"},
      {kProtocol2 + std::string(5'000'000, ')') + ".", "more than 4000000 values"},
  };
  for (const auto& [bytes, message] : cases) EXPECT_ERROR(Parse(bytes), message);
}

}  // namespace pickle_test
}  // namespace gptq
