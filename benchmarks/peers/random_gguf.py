#!/usr/bin/env python3
"""Writes a GGUF file of random weights in the shape of a 1.1B Llama: Q4_0, with token embeddings and head in Q8_0.
Needs numpy and the package gguf.

usage: benchmarks/peers/random_gguf.py OUT.gguf
"""

import sys

import gguf
import numpy

HIDDEN, LAYERS, INTERMEDIATE, HEADS, KV_HEADS, VOCABULARY = 2048, 22, 5632, 32, 4, 32000


def blocks(generator, kind, rows, columns):
    """Random codes, scales that keep the activations' size."""
    size = {gguf.GGMLQuantizationType.Q4_0: 18, gguf.GGMLQuantizationType.Q8_0: 34}[kind]
    data = generator.integers(0, 256, (rows, columns // 32, size), dtype=numpy.uint8)
    levels = 16 if size == 18 else 256
    scale = numpy.array([3 / columns**0.5 / levels], dtype=numpy.float16).view(numpy.uint8)
    data[:, :, :2] = scale
    return data.reshape(rows, -1)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    generator = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(sys.argv[1], "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("none")
    q4, q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0

    def matrix(name, kind, rows, columns):
        writer.add_tensor(name + ".weight", blocks(generator, kind, rows, columns), raw_dtype=kind)

    def norm(name):
        writer.add_tensor(name + ".weight", numpy.ones(HIDDEN, dtype=numpy.float32))

    matrix("token_embd", q8, VOCABULARY, HIDDEN)
    kv_width = HIDDEN // HEADS * KV_HEADS
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        norm(block + "attn_norm")
        norm(block + "ffn_norm")
        for name, rows, columns in (("attn_q", HIDDEN, HIDDEN), ("attn_k", kv_width, HIDDEN), ("attn_v", kv_width, HIDDEN),
                                    ("attn_output", HIDDEN, HIDDEN), ("ffn_gate", INTERMEDIATE, HIDDEN),
                                    ("ffn_up", INTERMEDIATE, HIDDEN), ("ffn_down", HIDDEN, INTERMEDIATE)):
            matrix(block + name, q4, rows, columns)
    norm("output_norm")
    matrix("output", q8, VOCABULARY, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
