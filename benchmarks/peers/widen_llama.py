#!/usr/bin/env python3
"""A Llama folder whose rows are multiples of 256, with more zeros in it and the same logits: GGUF's K types need such rows.
Needs numpy and safetensors.

usage: benchmarks/peers/widen_llama.py FOLDER WIDENED

Hidden size and heads grow to multiples of 256 columns; norms are scaled, as they take the mean of more numbers.
"""

import json
import os
import shutil
import sys

import numpy
from safetensors.numpy import load_file, save_file


def padded(tensor, rows, columns=None):
    shape = (rows,) if columns is None else (rows, columns)
    wide = numpy.zeros(shape, dtype=tensor.dtype)
    wide[tuple(slice(0, n) for n in tensor.shape)] = tensor
    return wide


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    config = json.load(open(source + "/config.json"))
    hidden, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or hidden // heads
    wide = -(-hidden // 256) * 256
    kv_wide = kv_heads
    while kv_wide * heads // kv_heads * head % 256:
        kv_wide += 1
    heads_wide = kv_wide * heads // kv_heads
    scale = numpy.float32((hidden / wide) ** 0.5)
    tensors = load_file(source + "/model.safetensors")
    for name, tensor in tensors.items():
        module = name.split(".")[-2]
        if "norm" in module:
            tensor = (padded(tensor, wide).astype(numpy.float32) * scale).astype(numpy.float32)
        elif module == "q_proj":
            tensor = padded(tensor, heads_wide * head, wide)
        elif module in ("k_proj", "v_proj"):
            tensor = padded(tensor, kv_wide * head, wide)
        elif module == "o_proj":
            tensor = padded(tensor, wide, heads_wide * head)
        elif module == "down_proj":
            tensor = padded(tensor, wide, tensor.shape[1])
        else:  # gate, up, embedding, head
            tensor = padded(tensor, tensor.shape[0], wide)
        tensors[name] = tensor
    os.makedirs(target)
    for file in os.listdir(source):
        if not file.endswith(".safetensors"):
            shutil.copy(os.path.join(source, file), target)
    config.update(hidden_size=wide, num_attention_heads=heads_wide, num_key_value_heads=kv_wide, head_dim=head,
                  rms_norm_eps=config["rms_norm_eps"] * hidden / wide)
    json.dump(config, open(target + "/config.json", "w"), indent=2)
    save_file(tensors, target + "/model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
