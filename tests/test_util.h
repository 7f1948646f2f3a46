// Shared by all tests: where the data lies, a folder that disappears, a random generator, and error matching.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "base/error.h"

namespace gptq {

inline std::filesystem::path TestData(const std::string& name) {
  return std::filesystem::path(GPTQ_TEST_DATA) / name;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gptq_test_XXXXXX").string();
    CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// EXPECT_ERROR(statement, "part of the message"): the statement throws gptq::Error whose text holds the part.
#define EXPECT_ERROR(statement, part)                                  \
  do {                                                                 \
    try {                                                              \
      statement;                                                       \
      ADD_FAILURE() << "no error from " #statement;                    \
    } catch (const ::gptq::Error& e) {                                 \
      EXPECT_THAT(e.what(), ::testing::HasSubstr(part)) << #statement; \
    }                                                                  \
  } while (false)

}  // namespace gptq
