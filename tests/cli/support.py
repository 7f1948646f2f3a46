"""What the end-to-end tests share: running the program, and writing model files byte by byte.

Each test file is run as `python3 NAME_test.py PATH_OF_GPTQ`; the standard library is all it needs.
"""

import array
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STORIES = os.path.join(ROOT, "models", "stories260K")
DATA = os.path.join(ROOT, "tests", "data")
WHOLE_TEXT = os.path.join(DATA, "text", "wikitext2-test.txt")
# Its beginning: most tests need a window or two, and the program tokenizes all that it is given.
text_folder = tempfile.TemporaryDirectory(prefix="gptq_text_")
TEXT = os.path.join(text_folder.name, "wikitext2-test.txt")
with open(WHOLE_TEXT, "rb") as whole, open(TEXT, "wb") as beginning:
    beginning.write(b"\n".join(whole.read(60000).split(b"\n")[:-1]))

_program = None


def program():
    return _program


def main():
    global _program
    if len(sys.argv) < 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit("usage: %s PATH_OF_GPTQ [unittest options]" % sys.argv[0])
    _program = os.path.abspath(sys.argv.pop(1))
    unittest.main(module="__main__", verbosity=1)


class Result:
    def __init__(self, command, process):
        self.command = command
        self.code = process.returncode
        self.out = process.stdout.decode("utf-8", "replace")
        self.err = process.stderr.decode("utf-8", "replace")

    def __str__(self):
        return "%s\nexit code %s\nstdout: %s\nstderr: %s" % (" ".join(a[:200] for a in self.command), self.code, self.out[-2000:], self.err[-2000:])

    @property
    def json(self):
        return json.loads(self.out)


class CliTest(unittest.TestCase):
    """Gives each test an empty folder, and ways to run the program and to judge how it ends."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="gptq_cli_")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, content):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return path

    def run_gptq(self, *arguments, **options):
        command = [program()] + [str(a) for a in arguments]
        options.setdefault("timeout", 30)
        standard_input = {"input": options.pop("input").encode()} if "input" in options else {"stdin": subprocess.DEVNULL}
        process = subprocess.run(command, **standard_input, stdout=options.pop("stdout", subprocess.PIPE),
                                 stderr=subprocess.PIPE, **options)
        if process.stdout is None:
            process.stdout = b""
        return Result(command, process)

    def run_ok(self, *arguments, **options):
        result = self.run_gptq(*arguments, **options)
        self.assertEqual(result.code, 0, str(result))
        return result

    def run_json(self, *arguments):
        return self.run_ok(*arguments, "--json").json

    def expect_error(self, *arguments, says=(), absent=(), **options):
        """Exit code 1, one line 'gptq: error: WHAT, WHERE, WHAT TO DO' at the end, nothing written."""
        result = self.run_gptq(*arguments, **options)
        self.assertEqual(result.code, 1, str(result))
        lines = [line for line in result.err.splitlines() if line.startswith("gptq: error: ")]
        self.assertEqual(len(lines), 1, str(result))
        self.assertEqual(result.err.splitlines()[-1], lines[0], str(result))
        for line in result.err.splitlines()[:-1]:
            self.assertRegex(line, r"^(gptq: (warning|note): |[a-z]+ +\d+/\d+ in )", str(result))
        self.assertGreaterEqual(lines[0].count(", "), 2, "WHAT, WHERE, WHAT TO DO: " + str(result))
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, lines[0], str(result))
        self.assertEqual(result.out.strip(), "", str(result))
        self.expect_nothing_at(*([absent] if isinstance(absent, str) else absent))
        return result

    def expect_usage_error(self, *arguments, says=()):
        result = self.run_gptq(*arguments)
        self.assertEqual(result.code, 2, str(result))
        self.assertEqual(result.out, "", str(result))
        self.assertRegex(result.err.splitlines()[-1], r"^gptq: wrong usage: ", str(result))
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, result.err, str(result))
        return result

    def expect_nothing_at(self, *paths):
        for path in paths:
            for name in (path, path + ".partial", path + ".replaced"):
                self.assertFalse(os.path.lexists(name), name + " is there")

    def perplexity(self, model, *options):
        arguments = ["evaluate", model, "--data", TEXT, "--windows", 2, "--sequence-length", 128, *options]
        return self.run_json(*arguments)["perplexity"]


# Writing safetensors.

def floats(values):
    return array.array("f", values).tobytes()


def int32s(values):
    return array.array("i", values).tobytes()


def safetensors_parts(tensors):
    """{name: (dtype, shape, bytes)} -> header as a dict, data."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return header, data


def safetensors_bytes(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors(tensors):
    return safetensors_bytes(*safetensors_parts(tensors))


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    with open(path, "rb") as file:
        content = file.read()
    size, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    data = content[8 + size:]
    return {name: (t["dtype"], t["shape"], data[t["data_offsets"][0]:t["data_offsets"][1]]) for name, t in header.items()}


def token_file(ids):
    """ids: list of equally long lists."""
    return safetensors({"input_ids": ("I32", [len(ids), len(ids[0])], int32s([i for row in ids for i in row]))})


# Tiny models.

TINY_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": True, "torch_dtype": "float32",
}


def random_matrix(random_source, *shape):
    count = 1
    for size in shape:
        count *= size
    return ("F32", list(shape), floats(random_source.uniform(-0.2, 0.2) for _ in range(count)))


def tiny_tensors(layers=2, hidden=32, intermediate=48, kv_width=16, vocabulary=512):
    r = random.Random(1)
    ones = ("F32", [hidden], floats([1.0] * hidden))
    tensors = {"model.embed_tokens.weight": random_matrix(r, vocabulary, hidden), "model.norm.weight": ones}
    for i in range(layers):
        block = "model.layers.%d." % i
        tensors[block + "input_layernorm.weight"] = ones
        tensors[block + "post_attention_layernorm.weight"] = ones
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv_width, hidden),
                                    ("self_attn.v_proj", kv_width, hidden), ("self_attn.o_proj", hidden, hidden),
                                    ("mlp.gate_proj", intermediate, hidden), ("mlp.up_proj", intermediate, hidden),
                                    ("mlp.down_proj", hidden, intermediate)):
            tensors[block + name + ".weight"] = random_matrix(r, rows, columns)
    return tensors


def with_value(tensor, index, value):
    """The same F32 tensor with one element replaced."""
    dtype, shape, content = tensor
    values = array.array("f", content)
    values[index] = value
    return (dtype, shape, values.tobytes())


def write_model(folder, config=None, tensors=None, weights=None, tokenizer=True):
    os.makedirs(folder, exist_ok=True)
    config = TINY_CONFIG if config is None else config
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        file.write(config if isinstance(config, str) else json.dumps(config))
    if weights is None:
        weights = safetensors(tiny_tensors() if tensors is None else tensors)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(weights)
    if tokenizer:
        shutil.copy(os.path.join(STORIES, "tokenizer.model"), folder)
    return folder


def read_floats(path):
    """Tensors of a safetensors file that are float32, by name."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        content = file.read()
    return {name: array.array("f", content[slice(*entry["data_offsets"])])
            for name, entry in header.items() if entry.get("dtype") == "F32"}


# Writing GGUF.

GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64 = 4, 5, 6, 7, 8, 9, 10
_GGUF_CODES = {GGUF_U32: "<I", GGUF_I32: "<i", GGUF_F32: "<f", GGUF_BOOL: "<?", GGUF_U64: "<Q"}


def gguf_string(text):
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content)) + content


def gguf_value(kind, value):
    if kind == GGUF_STRING:
        return gguf_string(value)
    if kind == GGUF_ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(gguf_value(element, item) for item in items)
    return struct.pack(_GGUF_CODES[kind], value)


def gguf(metadata, tensors, alignment=32):
    """metadata: {key: (kind, value)}; tensors: {name: (shape, bytes of float32)}, shape as in Hugging Face (rows first)."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, (kind, value) in metadata.items():
        out += gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)
    data = b""
    for name, (shape, content) in tensors.items():
        dimensions = list(reversed(shape))
        out += gguf_string(name) + struct.pack("<I", len(dimensions)) + struct.pack("<%dQ" % len(dimensions), *dimensions)
        out += struct.pack("<IQ", 0, len(data))
        data += content + b"\0" * (-len(content) % alignment)
    return out + b"\0" * (-len(out) % alignment) + data


def tiny_gguf_parts():
    """A tiny Llama with a SentencePiece vocabulary: three special tokens, all bytes, some pieces."""
    pieces = ["\u2581"] + list("abcdefghijklmnopqrstuvwxyz") + ["\u2581t", "he", "\u2581the", "\u2581a"]
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + pieces
    types = [2, 3, 3] + [6] * 256 + [1] * len(pieces)
    metadata = {
        "general.architecture": (GGUF_STRING, "llama"),
        "llama.embedding_length": (GGUF_U32, 32),
        "llama.feed_forward_length": (GGUF_U32, 48),
        "llama.block_count": (GGUF_U32, 2),
        "llama.attention.head_count": (GGUF_U32, 4),
        "llama.attention.head_count_kv": (GGUF_U32, 2),
        "llama.context_length": (GGUF_U32, 64),
        "llama.attention.layer_norm_rms_epsilon": (GGUF_F32, 1e-5),
        "llama.rope.freq_base": (GGUF_F32, 10000.0),
        "tokenizer.ggml.model": (GGUF_STRING, "llama"),
        "tokenizer.ggml.tokens": (GGUF_ARRAY, (GGUF_STRING, tokens)),
        "tokenizer.ggml.scores": (GGUF_ARRAY, (GGUF_F32, [-float(i) for i in range(len(tokens))])),
        "tokenizer.ggml.token_type": (GGUF_ARRAY, (GGUF_I32, types)),
        "tokenizer.ggml.bos_token_id": (GGUF_U32, 1),
        "tokenizer.ggml.eos_token_id": (GGUF_U32, 2),
        "tokenizer.ggml.unknown_token_id": (GGUF_U32, 0),
    }
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for i in range(2):
        for hub, short in (("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
                           ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
                           ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
                           ("mlp.down_proj", "ffn_down")):
            names["model.layers.%d.%s.weight" % (i, hub)] = "blk.%d.%s.weight" % (i, short)
    tensors = {names[name]: (shape, content) for name, (_, shape, content) in tiny_tensors(vocabulary=len(tokens)).items()}
    return metadata, tensors
