#include "base/hash.h"

#include <set>
#include <vector>

#include "tests/test_util.h"

namespace gptq {
namespace hash_test {

TEST(Hash, TellsContentsApart) {
  std::vector<std::byte> bytes(100);
  std::set<uint64_t> seen;
  for (size_t size = 0; size <= bytes.size(); ++size) seen.insert(HashBytes(std::span(bytes).first(size)));
  EXPECT_EQ(seen.size(), 101u);  // zeros of all lengths
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int value : {1, 2, 128, 255}) {
      bytes[i] = static_cast<std::byte>(value);
      seen.insert(HashBytes(bytes));
      bytes[i] = std::byte{0};
    }
  }
  EXPECT_EQ(seen.size(), 501u);
  // Words that change places, within a lane and between lanes.
  std::vector<uint64_t> words(64);
  for (size_t i = 0; i < words.size(); ++i) words[i] = i;
  for (size_t i = 0; i < words.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      std::swap(words[i], words[j]);
      seen.insert(HashBytes(std::as_bytes(std::span(words))));
      std::swap(words[i], words[j]);
    }
  }
  EXPECT_EQ(seen.size(), 501u + 64 * 63 / 2);
}

TEST(Hash, IsTheSameEverywhereAndAlways) {
  EXPECT_EQ(HashText(""), HashText({}));
  EXPECT_NE(HashText("a"), HashText("a", 1));
  EXPECT_NE(HashText("b", HashText("a")), HashText("a", HashText("b")));
  // What a journal holds must mean the same to the next process, wherever the bytes lie.
  const std::string text = "the quick brown fox jumps over the lazy dog";
  const std::string shifted = " " + text;
  EXPECT_EQ(HashText(std::string_view(shifted).substr(1)), HashText(text));
  EXPECT_EQ(HashText(text), 17552392438828544050u);
}

}  // namespace hash_test
}  // namespace gptq
