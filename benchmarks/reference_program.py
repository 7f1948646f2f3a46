#!/usr/bin/env python3
"""Times the published GPTQ program (github.com/IST-DASLab/gptq, a checkout of it) on SmolLM2 with the tokens of
tests/data/smollm2, on the CPU: all Hessians of a block from one forward, then its linears, then the block again with the
quantized weights. Needs torch, transformers, accelerate, gguf and safetensors. Quantizing only, no evaluation.

usage: benchmarks/reference_program.py CHECKOUT SMOLLM2.gguf BITS [BLOCKS]
"""

import os
import resource
import sys
import time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

checkout, gguf, bits = sys.argv[1], sys.argv[2], int(sys.argv[3])
blocks = int(sys.argv[4]) if len(sys.argv) > 4 else 30
torch.set_grad_enabled(False)
torch.cuda.synchronize = torch.cuda.empty_cache = lambda: None  # the program calls them even on the CPU
sys.path.insert(0, checkout)
from gptq import GPTQ  # noqa: E402
from modelutils import find_layers  # noqa: E402
from quant import Quantizer  # noqa: E402

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ids = load_file(os.path.join(root, "tests/data/smollm2/calibration_c4_32x2048.safetensors"))["input_ids"].long()
model = AutoModelForCausalLM.from_pretrained(os.path.dirname(gguf), gguf_file=os.path.basename(gguf), dtype=torch.float32)
model.eval()

start = time.time()
inputs = [model.model.embed_tokens(sample[None]) for sample in ids]
positions = torch.arange(ids.shape[1])[None]
rotary = model.model.rotary_emb(inputs[0], positions)


def run(layer, hidden):
    out = layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary)
    return out[0] if isinstance(out, tuple) else out


for index in range(blocks):
    layer = model.model.layers[index]
    linears = find_layers(layer)
    solvers = {name: GPTQ(linear) for name, linear in linears.items()}
    for solver in solvers.values():
        solver.quantizer = Quantizer()
        solver.quantizer.configure(bits, perchannel=True, sym=False, mse=False)
    hooks = [linear.register_forward_hook(lambda _, x, y, name=name: solvers[name].add_batch(x[0].data, y.data))
             for name, linear in linears.items()]
    for hidden in inputs:
        run(layer, hidden)
    for hook in hooks:
        hook.remove()
    for solver in solvers.values():
        solver.fasterquant(percdamp=0.01, groupsize=64)
    inputs = [run(layer, hidden) for hidden in inputs]
    print(f"block {index}: {time.time() - start:.1f} s", flush=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{blocks} blocks in {time.time() - start:.1f} s, {torch.get_num_threads()} threads, torch {torch.__version__}, peak {peak:.2f} GiB")
