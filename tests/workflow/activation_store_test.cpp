// A store that spills against one that does not, over blocks of the shape that the quantizer runs.
#include "workflow/activation_store.h"

#include <cstring>
#include <fstream>

#include "tests/test_util.h"

namespace gptq {
namespace activation_store_test {

ActivationShape Shape(int streams) {
  ActivationShape shape;
  shape.batches = {{1, 5}, {1, 5}, {7, 1}, {1, 3}};
  shape.streams = streams;
  shape.hidden = 4;
  shape.widest_input = 9;
  return shape;
}

void Put(Matrix& matrix, int64_t rows, int64_t columns, float seed) {
  matrix = Matrix(rows, columns);
  for (int64_t i = 0; i < rows * columns; ++i) matrix.data()[i] = seed + 0.25f * static_cast<float>(i);
}

float Sum(const Matrix& matrix) {
  float sum = 0;
  for (int64_t i = 0; i < matrix.rows() * matrix.columns(); ++i) sum = 0.9f * sum + matrix.data()[i];
  return sum;
}

void Begin(ActivationStore& store) {
  for (size_t batch = 0; batch < store.batches(); ++batch) {
    const std::span<BlockState> states = store.Load(batch, false);
    for (size_t s = 0; s < states.size(); ++s) {
      EXPECT_EQ(states[s].sequences, store.shape().batches[batch].sequences);
      EXPECT_EQ(states[s].tokens, store.shape().batches[batch].tokens);
      Put(states[s].hidden, store.shape().batches[batch].rows(), store.shape().hidden,
          static_cast<float>(10 * batch + s));
    }
    store.SaveBoundary(batch);
  }
}

// Three passes as a block has them: hidden -> input, input -> wider input, both -> hidden.
Json RunBlock(ActivationStore& store) {
  for (int pass = 0; pass < 3; ++pass) {
    for (size_t batch = 0; batch < store.batches(); ++batch) {
      for (BlockState& state : store.Load(batch, pass != 1)) {
        const int64_t rows = store.shape().batches[batch].rows();
        if (pass == 0) Put(state.input, rows, 3, Sum(state.hidden));
        if (pass == 1) Put(state.input, rows, 9, Sum(state.input));
        if (pass == 2) {
          Put(state.hidden, rows, 4, 0.01f * (Sum(state.input) + Sum(state.hidden)));
          state.input = Matrix();
        }
      }
      if (pass < 2) {
        store.Save(batch, false);
      } else {
        store.SaveBoundary(batch);
      }
    }
    store.Unload();
  }
  return store.FinishBoundary();
}

std::vector<float> Hidden(ActivationStore& store) {
  std::vector<float> all;
  for (size_t batch = 0; batch < store.batches(); ++batch) {
    for (const BlockState& state : store.Load(batch, true)) {
      all.insert(all.end(), state.hidden.data(), state.hidden.data() + state.hidden.rows() * 4);
    }
  }
  return all;
}

TEST(ActivationStore, HoldsAsManyBatchesAsFit) {
  const ActivationShape shape = Shape(1);
  const int64_t row = shape.StateBytes(1);
  EXPECT_EQ(row, (4 + 9) * 4);
  EXPECT_EQ(Shape(2).StateBytes(1), 2 * row);
  EXPECT_EQ(ActivationStore::ResidentBatches(shape, 20 * row), 4u);
  EXPECT_EQ(ActivationStore::ResidentBatches(shape, 20 * row - 1),
            2u);  // 7 rows are for those that come and go
  EXPECT_EQ(ActivationStore::ResidentBatches(shape, 17 * row - 1), 1u);
  EXPECT_EQ(ActivationStore::ResidentBatches(shape, 0), 0u);
}

TEST(ActivationStore, GivesTheSameWhateverIsSpilled) {
  for (const int streams : {1, 2}) {
    std::vector<float> expected;
    for (size_t resident = 5; resident-- > 0;) {
      TemporaryFolder folder;
      ActivationStore store(Shape(streams), resident, folder.path());
      EXPECT_EQ(store.spilled_bytes() == 0, resident >= 4);
      EXPECT_EQ(std::filesystem::exists(folder.path() / "activations"), resident < 4);
      Begin(store);
      store.FinishBoundary();
      for (int block = 0; block < 3; ++block) RunBlock(store);
      const std::vector<float> hidden = Hidden(store);
      if (resident == 4) expected = hidden;
      EXPECT_EQ(hidden, expected) << resident;
    }
  }
}

TEST(ActivationStore, GoesOnFromABoundaryWhateverHappenedSince) {
  for (const size_t resident : {0u, 2u, 4u}) {
    TemporaryFolder folder;
    Json boundary;
    std::vector<float> expected;
    {
      ActivationStore store(Shape(2), resident, folder.path());
      Begin(store);
      store.FinishBoundary();
      boundary = RunBlock(store);
      expected = Hidden(store);
      RunBlock(store);  // nobody hears of it
    }
    ActivationStore store(Shape(2), 4 - resident, folder.path(), boundary);
    EXPECT_EQ(Hidden(store), expected);
    const Json second = RunBlock(store);
    EXPECT_NE(second.at("side"), boundary.at("side"));
    expected = Hidden(store);
    ActivationStore third(Shape(2), 1, folder.path(), second);
    EXPECT_EQ(Hidden(third), expected);
  }
}

TEST(ActivationStore, FindsDamage) {
  TemporaryFolder folder;
  Json boundary;
  {
    ActivationStore store(Shape(1), 2, folder.path());
    Begin(store);
    boundary = store.FinishBoundary();
  }
  const std::filesystem::path file = folder.path() / Concat("boundary.", boundary.at("side").dump());
  for (const int64_t offset : {0, 100, 319}) {
    char byte = 0;
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(offset).read(&byte, 1);
    stream.seekp(offset).put(static_cast<char>(byte ^ 1)).flush();
    EXPECT_ERROR(ActivationStore(Shape(1), 2, folder.path(), boundary), "--restart");
    stream.seekp(offset).put(byte).flush();
    ActivationStore(Shape(1), 2, folder.path(), boundary);
  }
  Json other = boundary;
  other["hashes"].erase(0);
  EXPECT_ERROR(ActivationStore(Shape(1), 2, folder.path(), other), "damaged");
  std::filesystem::resize_file(file, 100);
  EXPECT_ERROR(ActivationStore(Shape(1), 2, folder.path(), boundary), "damaged");
}

// After the last block only what is looked at once more is saved.
TEST(ActivationStore, MayKeepAPart) {
  TemporaryFolder folder;
  Json boundary;
  {
    ActivationStore store(Shape(1), 0, folder.path());
    Begin(store);
    store.FinishBoundary();
    store.Load(0, true);
    store.SaveBoundary(0);
    boundary = store.FinishBoundary();
  }
  ActivationStore store(Shape(1), 4, folder.path(), boundary);
  EXPECT_EQ(store.Load(0, true).front().hidden.data()[1], 0.25f);
}

}  // namespace activation_store_test
}  // namespace gptq
