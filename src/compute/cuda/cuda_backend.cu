#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "compute/cuda/cuda_backend.h"
#include "compute/cuda/vector_kernels.h"

namespace gptq::cuda {
namespace {

constexpr int64_t kFloat = sizeof(float);

// A step as it was recorded.
struct RecordedStep {
  int64_t allocations = -1;  // when it was last done
  int64_t readings = 0;      // by the program, in it: then it cannot be recorded
  int graph = -1;
  int64_t position = 0;
};

}  // namespace

class CudaBackend::Operand {
 public:
  enum Use { kRead, kWrite, kChange };

  Operand(CudaBackend& backend, MatrixView x, Use use) : device_(*backend.device_), host_(x), view_(x) {
    if (x.elements() == 0 || device_.Owns(x.data)) return;
    CHECK(!backend.recording_);
    copy_ = device_.Allocate(x.elements() * kFloat);
    view_.data = reinterpret_cast<float*>(copy_.get());
    if (use != kWrite) device_.ToDevice(view_.data, x.data, x.elements() * kFloat);
  }
  MatrixView view() const { return view_; }
  float* data() const { return view_.data; }
  void Return() const {
    if (copy_) device_.ToHost(host_.data, view_.data, host_.elements() * kFloat);
  }

 private:
  Device& device_;
  MatrixView host_, view_;
  Memory copy_;
};

CudaBackend::CudaBackend(int threads, int64_t memory_limit)
    : device_(std::make_shared<Device>(memory_limit)), host_(MakeCpuBackend(threads)) {
  position_ = device_->Allocate(sizeof(int32_t));
}

CudaBackend::~CudaBackend() = default;

std::string CudaBackend::Describe() const {
  return Concat("cuda, ", device_->name(), ", ", host_->pool().threads(), " threads");
}

std::shared_ptr<std::byte> CudaBackend::Allocate(int64_t bytes) {
  CHECK(!recording_);
  struct Owner {
    std::shared_ptr<Device> device;  // outlives the memory
    Memory memory;
  };
  const auto owner = std::make_shared<Owner>(Owner{device_, device_->Allocate(bytes)});
  return {owner, owner->memory.get()};
}

Memory CudaBackend::Upload(const void* data, int64_t bytes) {
  CHECK(!recording_);
  Memory memory = device_->Allocate(bytes);
  device_->ToDevice(memory.get(), data, bytes);
  return memory;
}

MatrixView CudaBackend::Readable(MatrixView x, Matrix& buffer) {
  DoAllWaiting();
  if (x.elements() == 0 || !device_->Owns(x.data)) return x;
  ++readings_;
  buffer.Resize(x.rows, x.columns, nullptr);
  device_->ToHost(buffer.data(), x.data, x.elements() * kFloat);
  return buffer.view();
}

void CudaBackend::Copy(MatrixView from, MatrixView to) {
  CHECK(from.rows == to.rows && from.columns == to.columns);
  DoAllWaiting();
  if (from.elements() == 0) return;
  const int64_t bytes = from.elements() * kFloat;
  const bool on_device = device_->Owns(from.data), to_device = device_->Owns(to.data);
  if (on_device && to_device) return device_->OnDevice(to.data, from.data, bytes);
  if (on_device) return device_->ToHost(to.data, from.data, bytes);
  if (to_device) return device_->ToDevice(to.data, from.data, bytes);
  std::memcpy(to.data, from.data, static_cast<size_t>(bytes));
}

void CudaBackend::Zero(MatrixView x) {
  DoAllWaiting();
  if (device_->Owns(x.data)) return device_->Zero(x.data, x.elements() * kFloat);
  std::fill_n(x.data, x.elements(), 0.0f);
}

// The first time a step is done, so that all memory is there; the second time it is recorded. It is good as
// long as nothing has been allocated since: then all of its matrices are where they were.
void CudaBackend::Step(StepRecord& record, int64_t position, const std::function<void()>& step) {
  if (!record.recorded) record.recorded = std::make_shared<RecordedStep>();
  RecordedStep& recorded = *std::static_pointer_cast<RecordedStep>(record.recorded);
  if (recorded.allocations != device_->allocations() || recorded.readings > 0) {
    const int64_t readings = readings_;
    recorded.graph = -1;
    step();
    recorded.allocations = device_->allocations();
    recorded.readings = readings_ - readings;
    return;
  }
  if (recorded.graph < 0) {
    recorded.position = recorded_position_ = position;
    recording_ = true;
    device_->BeginGraph();
    try {
      step();
      DoAllWaiting();
    } catch (...) {
      recording_ = false;
      norm_.reset();
      products_.reset();
      rotations_.clear();
      rows_.clear();
      device_->EndGraph();
      throw;
    }
    recorded.graph = device_->EndGraph();
    recording_ = false;
  }
  SetPosition(*device_, reinterpret_cast<int32_t*>(position_.get()), position);
  device_->ReplayGraph(recorded.graph);
}

Position CudaBackend::PositionOf(int64_t position) const {
  if (!recording_) return {position, nullptr, 0};
  return {position, reinterpret_cast<const int32_t*>(position_.get()), recorded_position_};
}

void CudaBackend::DoProducts() {
  if (!products_) return;
  MultiplyFused(*device_, products_->products, products_->x, products_->fusion);
  products_.reset();
}

void CudaBackend::DoNorm() {
  if (!norm_) return;
  const Fusion& f = norm_->fusion;
  cuda::Norm(*device_, *f.norm, f.epsilon, norm_->x, f.norm_weight, 1, f.norm_bias, 1, norm_->y.data);
  norm_.reset();
}

void CudaBackend::DoWaiting() {
  DoProducts();
  for (const WaitingRotation& waiting : rotations_) cuda::Rotate(*device_, waiting.rotation, 1, waiting.x);
  rotations_.clear();
  for (const WaitingRows& waiting : rows_)
    cuda::StoreKv(*device_, waiting.rows, waiting.heads, waiting.first, waiting.to);
  rows_.clear();
}

void CudaBackend::DoAllWaiting() {
  DoWaiting();
  DoNorm();
}

bool CudaBackend::FuseProducts(MatrixView x, std::span<const Product> products) {
  if (!recording_ || x.rows != 1 || !CanFuse(products)) return false;
  const bool normed = norm_ && norm_->y.data == x.data;
  products_ = WaitingProducts{
      normed ? norm_->x.data : x.data, normed ? norm_->fusion : Fusion{}, {products.begin(), products.end()}};
  for (const Product& product : products) Overwritten(product.y);
  return true;
}

// Query and key rotated or not, key and value on their way to the cache that is read.
bool CudaBackend::FuseAttention(const AttentionShape& shape, MatrixView query, const KvRows& keys,
                                const KvRows& values, int64_t most_keys, float* out) {
  const bool token = recording_ && query.rows == 1 && shape.causal && most_keys <= kMostKeysOfFew &&
                     (keys.type == DType::kF16 || keys.type == DType::kF32) && rows_.size() == 2 &&
                     rows_[0].to.data == keys.data && rows_[1].to.data == values.data && !products_;
  const bool rotated = rotations_.size() == 2 && rotations_[0].x.data == query.data && rows_.size() == 2 &&
                       rotations_[1].x.data == rows_[0].rows.data &&
                       rotations_[0].rotation == rotations_[1].rotation;
  if (!token || !(rotated || rotations_.empty())) return false;
  AttendToken(*device_, shape, PositionOf(shape.key_tokens - 1), most_keys, query,
              {rows_[0].rows.data, rows_[1].rows.data, rotated ? rotations_[0].rotation : Rotation{}}, keys,
              values, out);
  rotations_.clear();
  rows_.clear();
  return true;
}

const float* CudaBackend::ConstantFloats(std::span<const float> values) {
  if (values.empty()) return nullptr;
  if (device_->Owns(values.data())) return values.data();
  const auto bytes = std::as_bytes(values);
  Constant& constant = constants_[values.data()];
  if (!std::ranges::equal(constant.copy, bytes)) {
    CHECK(!recording_);
    if (constant.copy.size() != bytes.size()) {
      constant.memory = device_->Allocate(static_cast<int64_t>(bytes.size()));
    }
    constant.copy.assign(bytes.begin(), bytes.end());
    device_->ToDevice(constant.memory.get(), bytes.data(), static_cast<int64_t>(bytes.size()));
  }
  return reinterpret_cast<const float*>(constant.memory.get());
}

void CudaBackend::Embed(const Weight& table, std::span<const int32_t> ids, MatrixView out) {
  CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.columns == table.columns());
  Matrix rows(out.rows, out.columns);
  pool().ParallelFor(out.rows, [&](int64_t t) {
    table.ReadRows(ids[static_cast<size_t>(t)], 1, rows.data() + t * out.columns);
  });
  Copy(rows.view(), out);
}

void CudaBackend::Norm(NormKind kind, double epsilon, MatrixView x, std::span<const float> weight,
                       std::span<const float> bias, MatrixView y) {
  CHECK(x.rows == y.rows && x.columns == y.columns);
  CHECK(static_cast<int64_t>(weight.size()) % x.columns == 0);
  CHECK(static_cast<int64_t>(bias.size()) % x.columns == 0);
  if (recording_ && x.rows == 1) {
    DoWaiting();
    Overwritten(y.data);
    DoNorm();
    Fusion fusion;
    fusion.norm = kind;
    fusion.epsilon = static_cast<float>(epsilon);
    fusion.norm_weight = ConstantFloats(weight);
    fusion.norm_bias = ConstantFloats(bias);
    norm_ = WaitingNorm{fusion, x, y};
    if (x.data == y.data) DoNorm();
    return;
  }
  DoAllWaiting();
  const Operand in(*this, x, Operand::kRead), out(*this, y, Operand::kWrite);
  const auto rows = [&](std::span<const float> values) {
    return std::max<int64_t>(1, static_cast<int64_t>(values.size()) / x.columns);
  };
  cuda::Norm(*device_, kind, static_cast<float>(epsilon), in.view(), ConstantFloats(weight), rows(weight),
             ConstantFloats(bias), rows(bias), out.data());
  out.Return();
}

void CudaBackend::Linear(MatrixView x, const Weight& weight, std::span<const float> bias, MatrixView y) {
  const LinearProduct product{&weight, bias, y};
  Linears(x, std::span(&product, 1));
}

void* CudaBackend::Buffer(Memory& memory, int64_t& bytes, int64_t needed) {
  if (needed > bytes) {
    CHECK(!recording_);
    memory.reset();
    memory = device_->Allocate(needed);
    bytes = needed;
  }
  return memory.get();
}

// Many rows. Inputs of float16 weights are float16, and with 32 bits what that leaves of them, too; a packed
// weight becomes float16 part by part.
void CudaBackend::MultiplyTiled(MatrixView x, const Product& product) {
  const DeviceWeight& weight = *product.weight;
  const int64_t stride = weight.stride(), elements = x.rows * stride;
  const bool two_planes = activation_bits_ == 32 && !weight.wide();
  auto* const inputs = static_cast<std::byte*>(
      Buffer(input_buffer_, input_bytes_, elements * (weight.wide() || two_planes ? 4 : 2)));
  std::byte* const rest = two_planes ? inputs + elements * 2 : nullptr;
  PlaceInputs(*device_, weight, x.data, x.rows, inputs, rest);
  const auto multiply = [&](const void* half, int64_t first, int64_t count) {
    const cuda::Operand out{product.y + first, weight.rows};
    device_->HalfProduct(x.rows, count, stride, 1, {inputs, stride}, {half, stride}, false, 0, out);
    if (two_planes)
      device_->HalfProduct(x.rows, count, stride, 1, {rest, stride}, {half, stride}, false, 1, out);
  };
  if (weight.wide()) {
    device_->FloatProduct(x.rows, weight.rows, stride, 1, {inputs, stride}, {weight.floats.get(), stride},
                          false, 0, {product.y, weight.rows});
  } else if (!weight.packed()) {
    multiply(weight.half.get(), 0, weight.rows);
  } else {
    constexpr int64_t kPartBytes = int64_t{256} << 20;
    const int64_t tiles = (weight.rows + kTileRows - 1) / kTileRows;
    const int64_t tiles_at_once = std::clamp<int64_t>(kPartBytes / (stride * 2 * kTileRows), 1, tiles);
    for (int64_t tile = 0; tile < tiles; tile += tiles_at_once) {
      const int64_t count = std::min(tiles_at_once, tiles - tile), first = tile * kTileRows;
      void* const half = Buffer(weight_buffer_, weight_bytes_, tiles_at_once * kTileRows * stride * 2);
      Dequantize(*device_, weight, tile, count, half);
      multiply(half, first, std::min(count * kTileRows, weight.rows - first));
    }
  }
  if (product.bias != nullptr) AddBias(*device_, product.bias, x.rows, weight.rows, product.y);
}

void CudaBackend::Linears(MatrixView x, std::span<const LinearProduct> products) {
  if (x.rows == 0) return;
  DoWaiting();
  const Operand in(*this, x, Operand::kRead);
  std::vector<Operand> outs;
  std::vector<Product> all;
  for (const auto& [weight, bias, y] : products) {
    CHECK(x.columns == weight->columns() && y.columns == weight->rows() && x.rows == y.rows);
    CHECK(bias.empty() || static_cast<int64_t>(bias.size()) == y.columns);
    outs.emplace_back(*this, y, Operand::kWrite);
    all.push_back({&DeviceWeight::Of(device_, *weight), ConstantFloats(bias), outs.back().data()});
  }
  if (FuseProducts(x, all)) return;
  DoNorm();
  // Those that one launch can do, one after the other.
  for (size_t first = 0, end; first < all.size(); first = end) {
    const DeviceWeight& weight = *all[first].weight;
    end = first + 1;
    while (end < all.size() && end - first < kMostProducts && all[end].weight->TakesInputsOf(weight) &&
           all[end].weight->matrix.bits == weight.matrix.bits)
      ++end;
    const std::span<const Product> together = std::span(all).subspan(first, end - first);
    if (weight.packed() && x.rows <= kMostPackedRows) {
      packed_inputs_.Pack(*device_, weight, in.data(), x.rows);
      MultiplyPacked(*device_, together, packed_inputs_, x.rows);
    } else if (!weight.packed() && x.rows <= kMostPlainRows) {
      MultiplyPlain(*device_, together, in.data(), x.rows);
    } else {
      for (const Product& product : together) MultiplyTiled(in.view(), product);
    }
  }
  for (const Operand& out : outs) out.Return();
}

void CudaBackend::Rotate(const RotaryTable& table, int64_t first_position, int64_t sequence_tokens,
                         int64_t head_dim, int64_t first_dimension, MatrixView x) {
  CHECK(first_dimension >= 0 && head_dim >= first_dimension + 2 * table.pairs);
  CHECK(x.columns % head_dim == 0 && table.sine.size() == table.cosine.size());
  const int64_t end = first_position + std::min(x.rows, sequence_tokens);
  CHECK(first_position >= 0 && end * table.pairs <= static_cast<int64_t>(table.cosine.size()));
  const Rotation rotation{ConstantFloats(table.cosine),
                          ConstantFloats(table.sine),
                          table.pairs,
                          table.interleaved,
                          PositionOf(first_position),
                          head_dim,
                          first_dimension};
  if (recording_ && x.rows == 1) {
    DoProducts();
    rotations_.push_back({rotation, x});
    return;
  }
  DoAllWaiting();
  const Operand in(*this, x, Operand::kChange);
  cuda::Rotate(*device_, rotation, sequence_tokens, in.view());
  in.Return();
}

void CudaBackend::Attend(const AttentionShape& shape, MatrixView query, const KvRows& keys,
                         const KvRows& values, MatrixView out) {
  const Operand q(*this, query, Operand::kRead), to(*this, out, Operand::kWrite);
  // Plain rows may be the program's.
  const auto rows_of = [&](const KvRows& rows, int64_t width, Memory& copy) {
    if (device_->Owns(rows.data)) return rows;
    CHECK(rows.head_rows == 0 && rows.type == DType::kF32);
    const int64_t count = (shape.sequences - 1) * shape.key_stride + shape.key_tokens;
    copy = Upload(rows.data, count * shape.kv_heads * width * kFloat);
    KvRows moved = rows;
    moved.data = copy.get();
    return moved;
  };
  Memory key_copy, value_copy;
  const KvRows k = rows_of(keys, shape.head_dim, key_copy);
  const KvRows v = rows_of(values, shape.value_width(), value_copy);
  AttentionShape of_device = shape;
  if (shape.key_bias != nullptr) {
    of_device.key_bias =
        ConstantFloats({shape.key_bias, static_cast<size_t>(shape.heads * shape.key_bias_stride)});
  }
  // A recorded step meets more keys when it is done.
  const int64_t most_keys = recording_ ? keys.head_rows : shape.key_tokens;
  Overwritten(to.data());
  if (FuseAttention(of_device, q.view(), k, v, most_keys, to.data())) return;
  DoAllWaiting();
  if (shape.query_tokens <= kFewQueries && most_keys <= kMostKeysOfFew) {
    AttendFew(*device_, of_device, PositionOf(shape.key_tokens - shape.query_tokens), most_keys, q.view(), k,
              v, to.data());
  } else {
    CHECK(!recording_);
    many_queries_.Run(*device_, of_device, activation_bits_ < 32, q.view(), k, v, to.data());
  }
  to.Return();
}

void CudaBackend::StoreKv(MatrixView rows, int64_t heads, int64_t first, const KvRows& to) {
  if (!device_->Owns(to.data)) {
    Matrix copy;
    return host_->StoreKv(Readable(rows, copy), heads, first, to);
  }
  if (recording_ && rows.rows == 1) {
    DoProducts();
    rows_.push_back({rows, heads, PositionOf(first), to});
    return;
  }
  DoAllWaiting();
  const Operand in(*this, rows, Operand::kRead);
  cuda::StoreKv(*device_, in.view(), heads, PositionOf(first), to);
}

void CudaBackend::ReceivedAttention(const AttentionShape& shape, MatrixView query, const float* keys,
                                    std::span<float> received) {
  Matrix query_copy, key_copy;
  const int64_t rows = (shape.sequences - 1) * shape.key_stride + shape.key_tokens;
  const MatrixView all_keys{const_cast<float*>(keys), rows, shape.kv_heads * shape.head_dim};
  host_->ReceivedAttention(shape, Readable(query, query_copy), Readable(all_keys, key_copy).data, received);
}

void CudaBackend::Activate(ActivationKind kind, MatrixView x, const MatrixView* factor) {
  CHECK(factor == nullptr || (factor->rows == x.rows && factor->columns == x.columns));
  if (products_ && products_->products.size() == 2 && factor != nullptr && !products_->fusion.add &&
      products_->products[0].y == x.data && products_->products[1].y == factor->data &&
      products_->products[0].weight->rows == products_->products[1].weight->rows) {
    products_->fusion.activation = kind;
    return DoProducts();
  }
  DoAllWaiting();
  const Operand in(*this, x, Operand::kChange);
  std::optional<Operand> by;
  if (factor != nullptr) by.emplace(*this, *factor, Operand::kRead);
  cuda::Activate(*device_, kind, in.data(), by ? by->data() : nullptr, x.elements());
  in.Return();
}

void CudaBackend::Add(MatrixView x, MatrixView y) {
  CHECK(x.rows == y.rows && x.columns == y.columns);
  if (products_ && products_->products.size() == 1 && products_->products[0].y == y.data) {
    if (norm_ && norm_->x.data == x.data) DoNorm();
    products_->fusion.add = x.data;
    return DoProducts();
  }
  DoAllWaiting();
  const Operand to(*this, x, Operand::kChange), from(*this, y, Operand::kRead);
  cuda::Add(*device_, to.data(), from.data(), x.elements());
  to.Return();
}

void CudaBackend::Scale(MatrixView x, float factor) {
  DoAllWaiting();
  const Operand in(*this, x, Operand::kChange);
  cuda::Scale(*device_, in.data(), factor, x.elements());
  in.Return();
}

void CudaBackend::Clamp(MatrixView x, float limit) {
  DoAllWaiting();
  const Operand in(*this, x, Operand::kChange);
  cuda::Clamp(*device_, in.data(), limit, x.elements());
  in.Return();
}

void CudaBackend::Softcap(MatrixView x, float cap) {
  DoAllWaiting();
  const Operand in(*this, x, Operand::kChange);
  cuda::Softcap(*device_, in.data(), cap, x.elements());
  in.Return();
}

void CudaBackend::CopyColumns(MatrixView from, ColumnPieces source, MatrixView to, ColumnPieces destination,
                              int64_t pieces, int64_t width) {
  const auto inside = [&](const MatrixView& matrix, const ColumnPieces& columns) {
    return columns.first >= 0 && columns.stride >= 0 &&
           columns.first + (pieces - 1) * columns.stride + width <= matrix.columns;
  };
  CHECK(from.rows == to.rows && pieces > 0 && inside(from, source) && inside(to, destination));
  DoAllWaiting();
  const Operand in(*this, from, Operand::kRead), out(*this, to, Operand::kChange);
  cuda::CopyColumns(*device_, in.view(), source, out.view(), destination, pieces, width);
  out.Return();
}

void CudaBackend::GatherRows(MatrixView from, std::span<const int32_t> rows, MatrixView to) {
  CHECK(to.rows == static_cast<int64_t>(rows.size()) && to.columns == from.columns);
  for (const int32_t row : rows) CHECK(row >= 0 && row < from.rows);
  if (rows.empty()) return;
  const Operand in(*this, from, Operand::kRead), out(*this, to, Operand::kWrite);
  const Memory places = Upload(rows.data(), static_cast<int64_t>(rows.size_bytes()));
  cuda::GatherRows(*device_, in.view(), reinterpret_cast<const int32_t*>(places.get()), out.view());
  out.Return();
}

// One triangle, and the squares on the diagonal whole.
void CudaBackend::AddGram(MatrixView x, std::span<const float> factors, MatrixView sum) {
  CHECK(sum.rows == x.columns && sum.columns == x.columns && device_->Owns(sum.data));
  CHECK(factors.empty() || static_cast<int64_t>(factors.size()) == x.rows);
  if (x.rows == 0) return;
  const Operand in(*this, x, Operand::kRead);
  Memory of_rows;
  if (!factors.empty()) of_rows = Upload(factors.data(), static_cast<int64_t>(factors.size_bytes()));
  const int64_t n = x.columns;
  auto* const half = static_cast<std::byte*>(Buffer(input_buffer_, input_bytes_, x.elements() * 2));
  RoundRows(*device_, in.data(), reinterpret_cast<const float*>(of_rows.get()), x.rows, n, half);
  const int64_t panel = std::clamp<int64_t>((n / 8 + 127) / 128 * 128, 1024, 4096);
  for (int64_t first = 0; first < n; first += panel) {
    const std::byte* const from = half + first * 2;
    device_->HalfOuterProduct(std::min(panel, n - first), n - first, x.rows, 1, {from, n}, {from, n},
                              {sum.data + first * n + first, n});
  }
}

void CudaBackend::AddToRows(MatrixView x, std::span<const int32_t> rows, std::span<const float> factors,
                            MatrixView y) {
  CHECK(y.rows == static_cast<int64_t>(rows.size()) && y.columns == x.columns &&
        factors.size() == rows.size());
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.rows);
  if (rows.empty()) return;
  const Operand to(*this, x, Operand::kChange), from(*this, y, Operand::kRead);
  const Memory places = Upload(rows.data(), static_cast<int64_t>(rows.size_bytes()));
  const Memory weights = Upload(factors.data(), static_cast<int64_t>(factors.size_bytes()));
  cuda::AddToRows(*device_, to.view(), reinterpret_cast<const int32_t*>(places.get()),
                  reinterpret_cast<const float*>(weights.get()), from.view());
  to.Return();
}

void CudaBackend::NegativeLogLikelihood(MatrixView logits, std::span<const int32_t> targets,
                                        std::span<double> out) {
  CHECK(static_cast<int64_t>(targets.size()) == logits.rows && out.size() == targets.size());
  for (const int32_t target : targets) CHECK(target >= 0 && target < logits.columns);
  if (targets.empty()) return;
  const Operand in(*this, logits, Operand::kRead);
  const Memory places = Upload(targets.data(), static_cast<int64_t>(targets.size_bytes()));
  const Memory results = device_->Allocate(static_cast<int64_t>(out.size_bytes()));
  cuda::NegativeLogLikelihood(*device_, in.view(), reinterpret_cast<const int32_t*>(places.get()),
                              reinterpret_cast<double*>(results.get()));
  device_->ToHost(out.data(), results.get(), static_cast<int64_t>(out.size_bytes()));
}

void CudaBackend::CompareLogits(MatrixView reference, MatrixView logits, std::span<LogitDifference> out) {
  CHECK(reference.rows == logits.rows && reference.columns == logits.columns);
  CHECK(static_cast<int64_t>(out.size()) == logits.rows);
  if (out.empty()) return;
  const Operand a(*this, reference, Operand::kRead), b(*this, logits, Operand::kRead);
  std::vector<double> found(2 * out.size());
  const auto bytes = static_cast<int64_t>(found.size() * sizeof(double));
  const Memory results = device_->Allocate(bytes);
  cuda::CompareLogits(*device_, a.view(), b.view(), reinterpret_cast<double*>(results.get()));
  device_->ToHost(found.data(), results.get(), bytes);
  for (size_t r = 0; r < out.size(); ++r) out[r] = {found[2 * r], found[2 * r + 1] != 0};
}

}  // namespace gptq::cuda
