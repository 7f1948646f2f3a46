// --head-bits: the matrix after the last block, solved like the blocks' linears.
#pragma once

#include "base/progress.h"
#include "workflow/activation_store.h"
#include "workflow/model_output.h"
#include "workflow/quantize_job.h"
#include "workflow/quantize_report.h"

namespace gptq {

// The plan's entry for the head, if it has one.
const PlannedLinear* PlannedHead(const QuantizeJob& job);
// Rows of it that are solved at a time: a vocabulary's are many.
int64_t HeadPiece(const PlannedLinear& head);

// From the boundary after the last block, of all batches: sums H of the head's inputs, solves the head,
// writes it and puts it in the decoder's place. To be called again where a run was stopped before its end.
void QuantizeHead(const PlannedLinear& head, QuantizeJob& job, ActivationStore& store, ModelOutput& output,
                  WorkReport& report, Backend& backend, Progress& progress);

}  // namespace gptq
