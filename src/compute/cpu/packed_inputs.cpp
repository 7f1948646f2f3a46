#include "compute/cpu/packed_inputs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <utility>

#include "base/integer.h"

namespace gptq {
namespace {

constexpr int64_t kGroupRows = PackedKernels::kGroupRows, kMostRows = PackedKernels::kMostRows;
constexpr int64_t kSerialRows = 6;  // packed by one thread: less work than waking another

template <typename Vector>
void Enlarge(Vector& vector, int64_t size) {
  if (static_cast<int64_t>(vector.size()) < size) vector.resize(static_cast<size_t>(size));
}

using UnitPlaces = std::array<OutlierColumn, kUnitColumns>;

// Where the weights of a unit's columns are, with 2 to 8 bits.
constexpr std::array<UnitPlaces, 7> kUnitPlaces = [] {
  std::array<UnitPlaces, 7> all{};
  for (int bits = 2; bits <= 8; ++bits) {
    for (int32_t vector = 0; vector < kUnitVectors; ++vector) {
      for (int32_t byte = 0; byte < 4; ++byte)
        all[static_cast<size_t>(bits - 2)][static_cast<size_t>(UnitColumn(bits, vector, byte))] = {
            0, vector, 8 * byte, 0, 0};
    }
  }
  return all;
}();

}  // namespace

class PackedInputBuffer::Packer {
 public:
  Packer(PackedInputBuffer& buffer, const PackedKernels& kernels, int planes, MatrixView x,
         const TiledWeight& weight)
      : buffer_(buffer),
        kernels_(kernels),
        x_(x),
        weight_(weight),
        form_(weight.input_form(planes)),
        row_bytes_(weight.places() * planes),
        sums_(form_.block_count * form_.groups),
        most_outliers_(PackedKernels::MostOutliers(weight.places())) {
    Enlarge(buffer.values_, RoundUp(x.rows, kGroupRows) * row_bytes_);
    Enlarge(buffer.scales_, x.rows * form_.block_count);
    Enlarge(buffer.sums_, x.rows * sums_);
    Enlarge(buffer.scaled_sums_, x.rows * sums_);
    Enlarge(buffer.row_outliers_, x.rows * most_outliers_);
    Enlarge(buffer.outlier_counts_, x.rows);
  }

  int64_t groups() const { return CeilDivide(x_.rows, kGroupRows); }
  int64_t chunks() const { return CeilDivide(x_.rows, kMostRows); }
  int64_t scratch_elements() const { return weight_.places() + row_bytes_ / 4; }

  // In these three `scratch` has scratch_elements().
  void PackRow(int64_t row, float* scratch) {
    PackRow(row, buffer_.values_.data() + row * row_bytes_, scratch);
  }
  void PackGroup(int64_t group, float* scratch) {
    auto* values = reinterpret_cast<std::byte*>(scratch + weight_.places());
    for (int64_t row = group * kGroupRows; row < std::min(x_.rows, (group + 1) * kGroupRows); ++row) {
      PackRow(row, values, scratch);
      kernels_.place_row(form_, values, row % kGroupRows,
                         buffer_.values_.data() + group * kGroupRows * row_bytes_);
    }
  }
  // Puts the outliers of the rows from chunk * kMostRows on in the order of their columns.
  void SortOutliers(int64_t chunk, float* scratch) {
    const int64_t first = chunk * kMostRows, end = std::min(x_.rows, first + kMostRows);
    auto* counts = reinterpret_cast<int32_t*>(scratch);  // of the outliers in each place that has some
    const std::span<uint32_t> have(reinterpret_cast<uint32_t*>(scratch) + weight_.places(),
                                   static_cast<size_t>(weight_.places() / kUnitColumns));  // a bit for each
    std::ranges::fill(have, 0);
    ForOutliers(first, end, [&](int64_t, const Outlier& outlier) {
      uint32_t& unit = have[static_cast<size_t>(outlier.index / kUnitColumns)];
      const uint32_t bit = 1u << outlier.index % kUnitColumns;
      counts[outlier.index] = (unit & bit) == 0 ? 1 : counts[outlier.index] + 1;
      unit |= bit;
    });
    OutlierColumn* columns = buffer_.outlier_columns_.data() + first * most_outliers_;
    Outlier* sorted = buffer_.outliers_.data() + first * most_outliers_;
    buffer_.chunk_outliers_[static_cast<size_t>(chunk)] = {columns, ListColumns(have, counts, columns),
                                                           sorted};
    ForOutliers(first, end, [&](int64_t row, const Outlier& outlier) {
      sorted[counts[outlier.index]++] = {static_cast<int32_t>(row - first), outlier.value};
    });
  }

  bool AnyOutliers() const {
    const auto counts = buffer_.outlier_counts_.begin();
    return std::any_of(counts, counts + x_.rows, [](int64_t count) { return count > 0; });
  }
  void MakeRoomForColumns() {
    Enlarge(buffer_.outliers_, x_.rows * most_outliers_);
    Enlarge(buffer_.outlier_columns_, x_.rows * most_outliers_);
    Enlarge(buffer_.chunk_outliers_, chunks());
  }
  PackedInputs Inputs(bool in_groups) const {
    return {form_,
            buffer_.values_.data(),
            buffer_.scales_.data(),
            buffer_.sums_.data(),
            buffer_.scaled_sums_.data(),
            row_bytes_,
            in_groups};
  }

 private:
  void PackRow(int64_t row, std::byte* values, float* placed) {
    const float* in = x_.data + row * x_.columns;
    if (!weight_.InputsInPlace()) {
      weight_.PlaceInputs(in, placed);
      in = placed;
    }
    const int64_t outliers = kernels_.take_outliers(in, weight_.places(), placed,
                                                    buffer_.row_outliers_.data() + row * most_outliers_);
    buffer_.outlier_counts_[static_cast<size_t>(row)] = outliers;
    if (outliers > 0) in = placed;
    kernels_.pack_inputs(form_, in, values, buffer_.scales_.data() + row * form_.block_count,
                         buffer_.sums_.data() + row * sums_, buffer_.scaled_sums_.data() + row * sums_);
  }

  void ForOutliers(int64_t first_row, int64_t end, const auto& visit) const {
    for (int64_t row = first_row; row < end; ++row) {
      const Outlier* outliers = buffer_.row_outliers_.data() + row * most_outliers_;
      for (int64_t i = 0; i < buffer_.outlier_counts_[static_cast<size_t>(row)]; ++i) visit(row, outliers[i]);
    }
  }

  // Of the places that have outliers. `counts` become where those of each place begin. Returns how many.
  int64_t ListColumns(std::span<const uint32_t> have, int32_t* counts, OutlierColumn* columns) const {
    const UnitPlaces& places = kUnitPlaces[static_cast<size_t>(form_.bits - 2)];
    const ColumnBlock* block = form_.blocks;
    int64_t listed = 0;
    int32_t begin = 0;
    for (int32_t unit = 0; unit < static_cast<int32_t>(have.size()); ++unit) {
      for (uint32_t bits = have[static_cast<size_t>(unit)]; bits != 0; bits &= bits - 1) {
        const int place = std::countr_zero(bits);
        while (unit >= block->first_unit + block->units) ++block;
        OutlierColumn& column = columns[listed++] = places[static_cast<size_t>(place)];
        column.unit = unit;
        column.group = block->group + (form_.groups == 2 ? place / 16 : 0);
        column.count = std::exchange(counts[unit * kUnitColumns + place], begin);
        begin += column.count;
      }
    }
    return listed;
  }

  PackedInputBuffer& buffer_;
  const PackedKernels& kernels_;
  const MatrixView x_;
  const TiledWeight& weight_;
  const InputForm form_;
  const int64_t row_bytes_, sums_, most_outliers_;
};

PackedInputs PackedInputBuffer::Pack(const PackedKernels& kernels, ThreadPool& pool, ThreadScratch& scratch,
                                     int planes, bool in_groups, MatrixView x, const TiledWeight& weight) {
  Packer packer(*this, kernels, planes, x, weight);
  const auto for_all = [&](int64_t count, void (Packer::*work)(int64_t, float*)) {
    const auto body = [&](int64_t i, int thread) {
      (packer.*work)(i, scratch.Get(thread, packer.scratch_elements()));
    };
    if (x.rows > kSerialRows) return pool.ParallelFor(count, body);
    for (int64_t i = 0; i < count; ++i) body(i, 0);
  };
  if (in_groups) {
    for_all(packer.groups(), &Packer::PackGroup);
  } else {
    for_all(x.rows, &Packer::PackRow);
  }
  PackedInputs inputs = packer.Inputs(in_groups);
  if (packer.AnyOutliers()) {
    packer.MakeRoomForColumns();
    for_all(packer.chunks(), &Packer::SortOutliers);
    inputs.outliers = chunk_outliers_.data();
  }
  return inputs;
}

}  // namespace gptq
