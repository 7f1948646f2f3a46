"""Logits of quantized folders in transformers beside ours.

    python benchmarks/peers/transformers_logits.py build/gptq FOLDER...

needs torch, transformers and, by the folder's format, GPTQModel with optimum, or compressed-tensors, all from PyPI. For each folder it
prints the root mean square and the greatest of the differences, over the standard deviation of ours, and how often both prefer the
same token. --backend chooses among GPTQModel's kernels; --widen makes the loaded model float32, its scales too, for kernels that stand
it but ask to be loaded with 16 bits. With --dequantize the stored integers are read here instead, by the formats'
definition, and their weights are run by transformers as plain numbers of --dtype.
"""

import argparse
import itertools
import json
import os
import subprocess
import tempfile

import numpy
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


def our_logits(program, folder, ids):
    with tempfile.TemporaryDirectory() as work:
        save_file({"input_ids": ids.astype(numpy.int32)}, work + "/ids.safetensors")
        subprocess.run([program, "logits", folder, "--tokens", work + "/ids.safetensors", "--output",
                        work + "/logits.safetensors", "--quiet"], check=True)
        return load_file(work + "/logits.safetensors")["logits"]


def fields(words, bits, count):
    """`count` fields of `bits` along the last axis of a little-endian bit stream of 32-bit words."""
    stream = numpy.unpackbits(words.view(numpy.uint8).reshape(*words.shape[:-1], -1), axis=-1, bitorder="little")
    stream = stream[..., :count * bits].reshape(*words.shape[:-1], count, bits)
    return (stream.astype(numpy.int32) << numpy.arange(bits)).sum(-1)


def gptq_weight(tensor, module, bits, config):
    scales = tensor(module + ".scales").float().numpy()  # [groups, outputs]
    groups = tensor(module + ".g_idx").numpy()
    codes = fields(numpy.ascontiguousarray(tensor(module + ".qweight").numpy().T), bits, len(groups))  # [outputs, inputs]
    zeros = fields(tensor(module + ".qzeros").numpy(), bits, scales.shape[1])
    if config.get("checkpoint_format", "gptq") == "gptq":
        zeros = zeros + 1
    return (codes - zeros.T[:, groups]) * scales.T[:, groups]


def compressed_weight(tensor, module, bits, names):
    scales = tensor(module + ".weight_scale").float().numpy()
    rows, columns = tensor(module + ".weight_shape").tolist()
    codes = fields(tensor(module + ".weight_packed").numpy(), bits, columns)
    zeros = numpy.full(scales.shape, 1 << (bits - 1))
    if module + ".weight_zero_point" in names:
        packed = tensor(module + ".weight_zero_point").numpy()
        zeros = fields(numpy.ascontiguousarray(packed.T), bits, rows).T
    groups = numpy.arange(columns) // -(-columns // scales.shape[1])
    if module + ".weight_g_idx" in names:
        groups = tensor(module + ".weight_g_idx").numpy()
    return (codes - zeros[:, groups]) * scales[:, groups]


def dequantized(folder):
    """A float32 model of transformers with the weights that the folder's integers stand for."""
    config = json.load(open(folder + "/config.json"))
    quantization = config.pop("quantization_config")
    file = safe_open(folder + "/model.safetensors", "pt")
    tensor, names = file.get_tensor, set(file.keys())
    weights = {}
    for name in names:
        module, _, kind = name.rpartition(".")
        if kind == "qweight":
            weight = gptq_weight(tensor, module, quantization["bits"], quantization)
        elif kind == "weight_packed":
            bits = quantization["config_groups"]["group_0"]["weights"]["num_bits"]
            weight = compressed_weight(tensor, module, bits, names)
        elif kind in ("qzeros", "scales", "g_idx", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"):
            continue
        else:
            weights[name] = tensor(name).float()
            continue
        weights[module + ".weight"] = torch.from_numpy(weight.astype(numpy.float32))
    with tempfile.TemporaryDirectory() as work:
        json.dump(config, open(work + "/config.json", "w"))
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(work),
                                                              dtype=torch.float32)
    missing = model.load_state_dict(weights, strict=False)
    tied = set(model._tied_weights_keys or [])
    assert not missing.unexpected_keys and set(missing.missing_keys) <= tied, missing
    model.tie_weights()
    return model


def loaded(folder, dtype, backend):
    config = {"quantization_config": transformers.GPTQConfig(bits=4, backend=backend)} if backend else {}  # the folder's bits count
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu", **config)
    kinds = sorted({type(module).__name__ for module in model.modules() if "Linear" in type(module).__name__})
    print("  %s runs it by %s" % (type(model).__name__, ", ".join(kinds)))
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--backend", help="of GPTQModel: gptq_torch ...; default: its choice")
    parser.add_argument("--widen", action="store_true")
    parser.add_argument("--dequantize", action="store_true")
    options = parser.parse_args()
    for folder in options.folders:
        folder = os.path.abspath(folder)
        print(folder)
        vocabulary = json.load(open(folder + "/config.json"))["vocab_size"]
        ids = (numpy.arange(2 * options.tokens) * 7919 + 17).reshape(2, -1) % vocabulary
        ours = our_logits(options.program, folder, ids)
        dtype = getattr(torch, options.dtype)
        model = dequantized(folder).to(dtype) if options.dequantize else loaded(folder, dtype, options.backend)
        if options.widen:  # transformers refuses model.float() for quantized models
            for tensor in itertools.chain(model.parameters(), model.buffers()):
                tensor.data = tensor.data.float() if tensor.is_floating_point() else tensor.data
        with torch.no_grad():
            theirs = model(torch.from_numpy(ids)).logits.float().numpy()
        difference = (ours - theirs) / ours.std()
        print("  difference %.2g (root mean square), %.2g (greatest) of the standard deviation, same first token in %.2f %%" %
              ((difference ** 2).mean() ** 0.5, abs(difference).max(), 100 * (ours.argmax(-1) == theirs.argmax(-1)).mean()),
              flush=True)


if __name__ == "__main__":
    main()
