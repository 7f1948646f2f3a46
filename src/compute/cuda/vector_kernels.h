// The operations of a decoder that are no products, on the device. Matrices are float32, row-major; all
// pointers are to the device's memory.
#pragma once

#include <cstdint>

#include "compute/backend.h"
#include "compute/cuda/runtime.h"

namespace gptq::cuda {

// A position that a recorded graph reads when it runs: base, or base - recorded + *now.
struct Position {
  int64_t base = 0;
  const int32_t* now = nullptr;
  int64_t recorded = 0;

  bool operator==(const Position&) const = default;
};

void SetPosition(Device& device, int32_t* place, int64_t position);

// Of Backend::Norm; `weight_rows` rows of weight and bias are used in turn.
void Norm(Device& device, NormKind kind, float epsilon, MatrixView x, const float* weight,
          int64_t weight_rows, const float* bias, int64_t bias_rows, float* y);
// Backend::Rotate with its table on the device: cosine and sine [positions, pairs].
struct Rotation {
  const float* cosine = nullptr;
  const float* sine = nullptr;
  int64_t pairs = 0;
  bool interleaved = false;
  Position first;
  int64_t head_dim = 0, first_dimension = 0;

  bool operator==(const Rotation&) const = default;
};
void Rotate(Device& device, const Rotation& rotation, int64_t sequence_tokens, MatrixView x);
void Activate(Device& device, ActivationKind kind, float* x, const float* factor, int64_t count);
void Add(Device& device, float* x, const float* y, int64_t count);
void Scale(Device& device, float* x, float factor, int64_t count);
void Clamp(Device& device, float* x, float limit, int64_t count);
void Softcap(Device& device, float* x, float cap, int64_t count);
void CopyColumns(Device& device, MatrixView from, ColumnPieces source, MatrixView to,
                 ColumnPieces destination, int64_t pieces, int64_t width);
void GatherRows(Device& device, MatrixView from, const int32_t* rows, MatrixView to);
void AddToRows(Device& device, MatrixView x, const int32_t* rows, const float* factors, MatrixView y);
void NegativeLogLikelihood(Device& device, MatrixView logits, const int32_t* targets, double* out);
// divergence and whether the greatest logits agree (1 or 0) of each row: out [rows, 2].
void CompareLogits(Device& device, MatrixView reference, MatrixView logits, double* out);

}  // namespace gptq::cuda
