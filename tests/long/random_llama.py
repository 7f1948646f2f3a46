"""Writes a Llama of any size with random bfloat16 weights, and calibration tokens for it: what large models take, without one.

    python3 random_llama.py FOLDER [--layers 22 --hidden 2048 --mlp 5632 --heads 32 --kv-heads 4 --vocabulary 32000]
"""

import argparse
import json
import os
import random
import struct

PIECE = 1 << 24


def write_random_bfloat16(file, count, source):
    """Values of both signs from 2^-7 to 2^-5, evenly over their bit patterns."""
    high = bytes(0x3C if byte & 1 else 0xBC for byte in range(256))
    while count > 0:
        piece = min(count, PIECE)
        content = bytearray(2 * piece)
        content[0::2] = source.randbytes(piece)
        content[1::2] = source.randbytes(piece).translate(high)
        file.write(content)
        count -= piece


def tensors(layers, hidden, mlp, heads, kv_heads, vocabulary):
    kv_width = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", [vocabulary, hidden]
    yield "lm_head.weight", [vocabulary, hidden]
    yield "model.norm.weight", [hidden]
    for i in range(layers):
        block = "model.layers.%d." % i
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield block + name + ".weight", [hidden]
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv_width, hidden),
                                    ("self_attn.v_proj", kv_width, hidden), ("self_attn.o_proj", hidden, hidden),
                                    ("mlp.gate_proj", mlp, hidden), ("mlp.up_proj", mlp, hidden), ("mlp.down_proj", hidden, mlp)):
            yield block + name + ".weight", [rows, columns]


def write_model(folder, layers=22, hidden=2048, mlp=5632, heads=32, kv_heads=4, vocabulary=32000, seed=0):
    os.makedirs(folder, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": mlp,
              "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
              "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    header, offset = {}, 0
    shapes = list(tensors(layers, hidden, mlp, heads, kv_heads, vocabulary))
    counts = [shape[0] * (shape[1] if len(shape) > 1 else 1) for _, shape in shapes]
    for (name, shape), count in zip(shapes, counts):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    text = json.dumps(header).encode()
    source = random.Random(seed)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for (name, _), count in zip(shapes, counts):
            if name.endswith("norm.weight"):
                file.write(b"\x80\x3f" * count)  # ones
            else:
                write_random_bfloat16(file, count, source)
    return folder


def write_tokens(path, samples, length, vocabulary, seed=0):
    source = random.Random(seed)
    header = json.dumps({"input_ids": {"dtype": "I32", "shape": [samples, length], "data_offsets": [0, 4 * samples * length]}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(samples):
            file.write(struct.pack("<%di" % length, *(source.randrange(vocabulary) for _ in range(length))))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    for name, value in (("layers", 22), ("hidden", 2048), ("mlp", 5632), ("heads", 32), ("kv-heads", 4), ("vocabulary", 32000), ("samples", 32),
                        ("sequence-length", 2048)):
        parser.add_argument("--" + name, type=int, default=value)
    given = parser.parse_args()
    write_model(given.folder, given.layers, given.hidden, given.mlp, given.heads, given.kv_heads, given.vocabulary)
    write_tokens(os.path.join(given.folder, "..", "tokens.safetensors"), given.samples, given.sequence_length, given.vocabulary)


if __name__ == "__main__":
    main()
