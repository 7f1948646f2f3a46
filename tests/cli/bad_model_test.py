"""Models that are missing, damaged, absurd or hostile: exit code 1, one clear line, nothing written."""

import copy
import json
import os
import shutil
import struct

import support
from support import DATA, STORIES, TEXT, TINY_CONFIG, safetensors, safetensors_bytes, safetensors_parts, tiny_tensors, with_value, write_model

NAN, INF = float("nan"), float("inf")
QUERY = "model.layers.1.self_attn.q_proj.weight"


class BadModelTest(support.CliTest):
    def setUp(self):
        super().setUp()
        self.text = self.write("text.txt", "Once upon a time there was a little dog. " * 20)
        self.tokens = self.write("tokens.safetensors", support.token_file([[1, 2, 3, 4]]))
        self.count = 0

    def commands(self, model):
        output = self.path("out")
        logits = self.path("logits.safetensors")
        return {
            "inspect": ("inspect", model),
            "evaluate": ("evaluate", model, "--data", self.text, "--sequence-length", 16),
            "generate": ("generate", model, "--prompt", "Once", "--tokens", 2),
            "logits": ("logits", model, "--tokens", self.tokens, "--output", logits),
            "quantize": ("quantize", model, "--output", output, "--calibration", self.text, "--sequence-length", 16),
            "quantize rtn": ("quantize", model, "--output", output, "--method", "rtn"),
        }

    def refused(self, model, says=(), but=("inspect",), only=None):
        for name, arguments in self.commands(model).items():
            if name in but or (only is not None and name not in only):
                continue
            with self.subTest(command=name, model=os.path.basename(model)):
                self.clear()
                self.expect_error(*arguments, says=says, absent=[self.path("out"), self.path("logits.safetensors")])

    def clear(self):
        for name in ("out", "out.partial", "logits.safetensors", "logits.safetensors.partial"):
            path = self.path(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.remove(path)

    def accepted(self, model):
        for name, arguments in self.commands(model).items():
            with self.subTest(command=name):
                self.clear()
                self.run_ok(*arguments)

    def model(self, **parts):
        self.count += 1
        return write_model(self.path("model%d" % self.count), **parts)

    def config(self, **changes):
        config = copy.deepcopy(TINY_CONFIG)
        for key, value in changes.items():
            if value is KeyError:
                del config[key]
            else:
                config[key] = value
        return config

    # The tiny models themselves are good: what follows fails for the reason it is meant to.

    def test_the_tiny_models_are_good(self):
        self.accepted(self.model())
        self.accepted(self.write("tiny.gguf", support.gguf(*support.tiny_gguf_parts())))

    # Files and folders.

    def test_what_is_not_there(self):
        self.refused(self.path("absent"), says=["absent", "no such file"], but=())
        self.refused(self.path("absent.gguf"), says=["absent.gguf"], but=())
        os.mkdir(self.path("empty"))
        self.refused(self.path("empty"), says="empty", but=())
        self.refused(self.text, says="text.txt", but=())
        self.refused(self.write("empty.safetensors", b""), says="empty.safetensors", but=())
        self.refused("x" * 5000, but=())
        broken = self.path("broken")
        os.symlink(self.path("nowhere"), broken)
        self.refused(broken, says="broken", but=())

    def test_missing_parts_of_a_folder(self):
        model = self.model()
        os.remove(os.path.join(model, "config.json"))
        self.refused(model, says=["config.json", model])
        model = self.model()
        os.remove(os.path.join(model, "model.safetensors"))
        self.refused(model, says=["model.safetensors", model], but=())
        model = self.model()
        os.remove(os.path.join(model, "tokenizer.model"))
        self.refused(model, says="tokenizer", but=("inspect", "logits", "quantize rtn"))
        sharded = os.path.join(DATA, "models", "llama_sharded")
        model = shutil.copytree(sharded, self.path("sharded"))
        os.remove(os.path.join(model, "model-00002-of-00003.safetensors"))
        self.refused(model, says="model-00002-of-00003.safetensors", but=())

    def test_weights_that_are_folders_or_unreadable(self):
        model = self.model()
        os.remove(os.path.join(model, "model.safetensors"))
        os.mkdir(os.path.join(model, "model.safetensors"))
        self.refused(model, says="model.safetensors", but=())
        model = self.model()
        os.remove(os.path.join(model, "config.json"))
        os.mkdir(os.path.join(model, "config.json"))
        self.refused(model, says="config.json")

    # config.json

    def test_unknown_architecture(self):
        for value in ("mamba", "", "LLAMA", 7, None, ["llama"], "x\ny"):
            with self.subTest(model_type=value):
                self.refused(self.model(config=self.config(model_type=value)), says="config.json")
        self.refused(self.model(config=self.config(model_type="mamba")), says=["'mamba'", "--architecture"])
        self.refused(self.model(config=self.config(model_type=KeyError)), says="model_type")

    def test_config_that_is_no_object(self):
        for text in ("", "{", "[]", "null", "3", '"llama"', "\0\1\2", '{"model_type": "llama"', "{}", '{"a":' * 100000,
                     "[" * 1000000, '{"model_type": "llama", "hidden_size": 1e999}'):
            with self.subTest(text=text[:20]):
                self.refused(self.model(config=text), says="config.json", only=("evaluate", "quantize"))

    def test_absurd_sizes(self):
        sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                 "vocab_size", "head_dim", "max_position_embeddings")
        for key in sizes:
            for value in (0, -1, -32, 1e30, 32.5, "32", [32], {"a": 1}, True, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40, -2**63):
                if key == "max_position_embeddings" and value == 2**30:
                    continue
                with self.subTest(key=key, value=value):
                    self.refused(self.model(config=self.config(**{key: value})), says="config.json", only=("evaluate", "quantize rtn"))
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
            for value in (None, KeyError):
                with self.subTest(key=key, value=value):
                    self.refused(self.model(config=self.config(**{key: value})), says="config.json", only=("quantize",))

    def test_sizes_that_disagree(self):
        for changes in ({"hidden_size": 33}, {"hidden_size": 64}, {"num_attention_heads": 3}, {"num_attention_heads": 8},
                        {"num_key_value_heads": 3}, {"num_key_value_heads": 8}, {"num_key_value_heads": 4},
                        {"head_dim": 7}, {"head_dim": 16}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3},
                        {"num_hidden_layers": 10000}, {"num_hidden_layers": 10**9}, {"intermediate_size": 64},
                        {"vocab_size": 511}, {"vocab_size": 513}, {"vocab_size": 2**26}, {"tie_word_embeddings": False}):
            with self.subTest(changes=changes):
                self.refused(self.model(config=self.config(**changes)), only=("evaluate", "logits", "quantize"))

    def test_absurd_values(self):
        for changes in ({"rms_norm_eps": -1}, {"rms_norm_eps": 1e30}, {"rms_norm_eps": "small"}, {"rms_norm_eps": [1]},
                        {"hidden_act": "tanhh"}, {"hidden_act": 3}, {"tie_word_embeddings": "yes"}, {"tie_word_embeddings": 1},
                        {"rope_theta": 0}, {"rope_theta": -1}, {"rope_theta": "1"}, {"rope_theta": 1e-320}, {"rope_theta": [1]},
                        {"rope_scaling": 3}, {"rope_scaling": "x"}, {"rope_scaling": []},
                        {"rope_scaling": {"rope_type": "magic", "factor": 2}}, {"rope_scaling": {"rope_type": 5, "factor": 2}},
                        {"rope_scaling": {"rope_type": "linear", "factor": 0}}, {"rope_scaling": {"rope_type": "linear", "factor": -2}},
                        {"rope_scaling": {"rope_type": "linear", "factor": "2"}}, {"rope_scaling": {"rope_type": "linear", "factor": 1e-320}},
                        {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}},
                        {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}},
                        {"rope_scaling": {"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 0}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "truncate": "no"}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "beta_fast": -1}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "attention_factor": 0}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "attention_factor": 1e300}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "rope_theta": 1}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 4, "mscale": 1e308, "mscale_all_dim": 1e-308}},
                        {"rope_parameters": [1]}, {"rope_parameters": {"rope_type": "linear", "factor": None, "rope_theta": "x"}},
                        {"quantization_config": 3}, {"quantization_config": []}, {"quantization_config": {"quant_method": "awq", "bits": 4}},
                        {"quantization_config": {"quant_method": "gptq"}}, {"quantization_config": {"quant_method": "gptq", "bits": 99}},
                        {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 0}},
                        {"quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": {"+:(": {}}}}):
            with self.subTest(changes=changes):
                self.refused(self.model(config=self.config(**changes)), says="config.json", only=("evaluate", "quantize", "quantize rtn"))
        for text in ('"rms_norm_eps": NaN', '"rms_norm_eps": Infinity', '"rope_theta": 1e999', '"rms_norm_eps": -Infinity'):
            config = json.dumps(self.config(rms_norm_eps=KeyError, rope_theta=KeyError))
            with self.subTest(text=text):
                self.refused(self.model(config=config[:-1] + ", " + text + "}"), says="config.json", only=("evaluate", "quantize rtn"))

    def test_extreme_values_that_are_possible_do_not_crash(self):
        for changes in ({"max_position_embeddings": 2**30}, {"rms_norm_eps": 0}, {"rope_theta": 1e15}, {"rope_theta": 1e300},
                        {"rope_scaling": {"rope_type": "linear", "factor": 1e30}}, {"rope_scaling": {"rope_type": "default"}},
                        {"rope_scaling": {"rope_type": "yarn", "factor": 1}}, {"rope_scaling": {"rope_type": "yarn", "factor": 1e6}}):
            model = self.model(config=self.config(**changes))
            for name, arguments in self.commands(model).items():
                with self.subTest(changes=changes, command=name):
                    self.clear()
                    self.run_ok(*arguments)

    def test_huge_context_with_huge_windows(self):
        model = self.model(config=self.config(max_position_embeddings=2**30))
        self.expect_error("evaluate", model, "--data", self.text, "--sequence-length", 2**30, says="text.txt")
        self.expect_error("quantize", model, "--output", self.path("out"), "--calibration", self.text, "--sequence-length", 2**30,
                          says="text.txt", absent=self.path("out"))
        self.run_ok("generate", model, "--prompt", "a", "--tokens", 3)

    # Headers of safetensors.

    def damaged(self, change):
        """A model whose safetensors header was changed by `change(header)`; header and data are otherwise right."""
        header, data = safetensors_parts(tiny_tensors())
        changed = change(header)
        return self.model(weights=safetensors_bytes(header if changed is None else changed, data))

    def test_lying_headers(self):
        big = 1 << 62

        def entry(**changes):
            return lambda header: header[QUERY].update(changes)

        begin, end = safetensors_parts(tiny_tensors())[0][QUERY]["data_offsets"]
        lies = {
            "offset past the end": entry(data_offsets=[begin, 1 << 30]),
            "offsets past the end": entry(data_offsets=[1 << 30, (1 << 30) + end - begin]),
            "offset past 2^63": entry(data_offsets=[2**64 - 4096, 2**64 - 1]),
            "negative offset": entry(data_offsets=[-4, end]),
            "reversed offsets": entry(data_offsets=[end, begin]),
            "overlap": entry(data_offsets=[begin - 4, end - 4]),
            "wrong size": entry(data_offsets=[begin, end - 4]),
            "one offset": entry(data_offsets=[begin]),
            "no offsets": lambda header: header[QUERY].pop("data_offsets"),
            "text offsets": entry(data_offsets=["0", "1"]),
            "fraction": entry(data_offsets=[begin + 0.5, end + 0.5]),
            "overflowing shape": entry(shape=[big, 16]),
            "overflowing to the right size": entry(shape=[2**32 + 0, 2**32, 32, 32]),
            "negative shape": entry(shape=[-32, -32]),
            "shape of zero": entry(shape=[0, 32]),
            "shape of many": entry(shape=[1] * 10000),
            "shape is a number": entry(shape=1024),
            "shape of text": entry(shape=["32", "32"]),
            "unknown type": entry(dtype="F33"),
            "type is a number": entry(dtype=32),
            "no type": lambda header: header[QUERY].pop("dtype"),
            "entry is a list": lambda header: header.update({QUERY: [1, 2]}),
            "integers for weights": entry(dtype="I32"),
            "header is a list": lambda header: b"[]",
            "header is empty": lambda header: b"",
            "header is not JSON": lambda header: b"{" * 50,
            "header is deep": lambda header: b'{"a":' * 100000 + b"1" + b"}" * 100000,
            "header of zeros": lambda header: b"\0" * 1000,
        }
        for name, change in lies.items():
            with self.subTest(lie=name):
                but = ("inspect",) if name in ("integers for weights", "shape of zero") else ()
                self.refused(self.damaged(change), says="model.safetensors", but=but + ("evaluate", "generate", "quantize"))

    def test_lying_header_length(self):
        weights = safetensors(tiny_tensors())
        for length in (0, 1, 7, len(weights), len(weights) + 1, 1 << 31, 1 << 62, 2**63, 2**64 - 1, 2**64 - 8):
            with self.subTest(length=length):
                self.refused(self.model(weights=struct.pack("<Q", length) + weights[8:]), says="model.safetensors", but=("evaluate", "logits"))

    def test_truncated_safetensors(self):
        weights = safetensors(tiny_tensors())
        header = struct.unpack("<Q", weights[:8])[0]
        for size in (0, 1, 7, 8, 9, 100, 8 + header - 1, 8 + header, 8 + header + 1, len(weights) // 2, len(weights) - 4, len(weights) - 1):
            with self.subTest(size=size):
                self.refused(self.model(weights=weights[:size]), says="model.safetensors", but=("generate", "logits", "quantize"))
        self.refused(self.model(weights=weights + b"tail"), says="model.safetensors", but=("generate", "logits"))

    def test_damage_anywhere_in_the_header_never_crashes(self):
        weights = safetensors(tiny_tensors())
        header = struct.unpack("<Q", weights[:8])[0]
        model = self.model()
        for place in range(0, 8 + header, max(1, header // 60)):
            for byte in (0x00, 0x22, 0x39, 0xff):
                damaged = bytearray(weights)
                damaged[place] = byte
                with open(os.path.join(model, "model.safetensors"), "wb") as file:
                    file.write(damaged)
                result = self.run_gptq("quantize", model, "--output", self.path("out"), "--method", "rtn", "--overwrite")
                self.assertIn(result.code, (0, 1), str(result))
                if result.code == 1:
                    self.assertIn("gptq: error: ", result.err)

    # Tensors.

    def test_missing_tensors(self):
        for name in ("model.embed_tokens.weight", "model.norm.weight", QUERY, "model.layers.0.input_layernorm.weight",
                     "model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.k_proj.weight"):
            tensors = tiny_tensors()
            del tensors[name]
            with self.subTest(tensor=name):
                self.refused(self.model(tensors=tensors), says=name)

    def test_tensors_of_wrong_shape(self):
        for name, shape in ((QUERY, [16, 64]), (QUERY, [1024]), (QUERY, [32, 32, 1]), ("model.norm.weight", [16, 2]),
                            ("model.norm.weight", [1, 32]), ("model.embed_tokens.weight", [32, 512]),
                            ("model.layers.0.mlp.down_proj.weight", [48, 32])):
            tensors = tiny_tensors()
            dtype, _, content = tensors[name]
            tensors[name] = (dtype, shape, content)
            with self.subTest(tensor=name, shape=shape):
                self.refused(self.model(tensors=tensors), says=[name, "shape"])

    def test_tensors_that_nothing_reads(self):
        for name in ("model.layers.0.self_attn.q_norm.weight", "model.layers.2.mlp.up_proj.weight", "surprise", "line\nbreak",
                     "model.layers.0.self_attn.rotary_emb.inv_freq" + "1" * 200000, "model.layers." + "1" * 200000):
            tensors = tiny_tensors()
            tensors[name] = ("F32", [4], support.floats([0] * 4))
            with self.subTest(tensor=name[:60]):
                self.refused(self.model(tensors=tensors), says="model.safetensors")
        tensors = tiny_tensors()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", [4], support.floats([1, 2, 3, 4]))
        self.accepted(self.model(tensors=tensors))

    def test_weights_of_another_config(self):
        model = shutil.copytree(STORIES, self.path("mixed"))
        shutil.copy(os.path.join(self.model(), "config.json"), model)
        self.refused(model, says=["shape", "do not belong together"])
        opt = self.config(model_type="opt", ffn_dim=48, word_embed_proj_dim=32)
        self.refused(self.model(config=opt), says="model.decoder")

    def test_values_that_are_no_numbers(self):
        for name in (QUERY, "model.layers.0.mlp.down_proj.weight", "model.embed_tokens.weight", "model.norm.weight",
                     "model.layers.1.post_attention_layernorm.weight"):
            for value in (NAN, INF, -INF):
                tensors = tiny_tensors()
                tensors[name] = with_value(tensors[name], 7, value)
                with self.subTest(tensor=name, value=value):
                    self.refused(self.model(tensors=tensors), says=name, only=("quantize", "quantize rtn"))
        # The other commands read what they compute with; where it matters they say so too.
        tensors = tiny_tensors()
        tensors["model.norm.weight"] = with_value(tensors["model.norm.weight"], 7, NAN)
        self.refused(self.model(tensors=tensors), says="not finite", only=("evaluate", "generate", "logits"))
        for temperature in ("0", "1"):
            self.expect_error("generate", self.path("model%d" % self.count), "--prompt", "a", "--temperature", temperature)

    # GGUF.

    def test_truncated_gguf(self):
        whole = support.gguf(*support.tiny_gguf_parts())
        header = whole.index(b"output_norm.weight")
        sizes = sorted(set(list(range(0, 64, 3)) + list(range(64, header + 2000, 611)) + list(range(header, len(whole), len(whole) // 17)) +
                           [len(whole) - 1, len(whole) - 33]))
        path = self.path("cut.gguf")
        for size in sizes:
            self.write("cut.gguf", whole[:size])
            with self.subTest(size=size):
                self.refused(path, says="cut.gguf", only=("quantize rtn",) if size % 2 else ("inspect", "evaluate"), but=())

    def test_damage_anywhere_in_gguf_never_crashes(self):
        whole = support.gguf(*support.tiny_gguf_parts())
        end = whole.index(b"blk.1.ffn_down.weight") + 100
        for place in list(range(0, 700, 7)) + list(range(700, end, 171)):
            damaged = bytearray(whole)
            damaged[place] ^= 0xff if place % 3 else 0x01
            path = self.write("damaged.gguf", bytes(damaged))
            result = self.run_gptq("quantize", path, "--output", self.path("out"), "--method", "rtn", "--overwrite")
            self.assertIn(result.code, (0, 1), str(result))
            if result.code == 1:
                self.assertIn("gptq: error: ", result.err)

    def test_lying_gguf(self):
        def variant(name, metadata=(), tensors=(), remove=()):
            parts, weights = support.tiny_gguf_parts()
            parts.update(metadata)
            weights.update(tensors)
            for key in remove:
                parts.pop(key, None)
                weights.pop(key, None)
            return self.write(name + ".gguf", support.gguf(parts, weights))

        u32, text = support.GGUF_U32, support.GGUF_STRING
        matrix = lambda *shape: (list(shape), support.floats([0.1] * (shape[0] * shape[1])))
        self.refused(variant("arch", {"general.architecture": (text, "mamba")}), says=["'mamba'", "arch.gguf"])
        self.refused(variant("archtype", {"general.architecture": (u32, 3)}), says="archtype.gguf")
        self.refused(variant("noarch", remove=["general.architecture"]), says="noarch.gguf")
        for key in ("llama.embedding_length", "llama.block_count", "llama.attention.head_count", "llama.feed_forward_length"):
            self.refused(variant("nokey", remove=[key]), says="nokey.gguf", only=("evaluate", "quantize rtn"))
            for kind, value in ((u32, 0), (u32, 2**32 - 1), (u32, 33), (text, "32"), (support.GGUF_U64, 2**64 - 1),
                                (support.GGUF_F32, 32.0), (support.GGUF_F32, NAN), (support.GGUF_ARRAY, (u32, [])),
                                (support.GGUF_ARRAY, (u32, [32, 31])), (support.GGUF_ARRAY, (text, ["a"]))):
                with self.subTest(key=key, value=value):
                    self.refused(variant("key", {key: (kind, value)}), says="key.gguf", only=("evaluate", "quantize rtn"))
        for key in ("llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"):
            for kind, value in ((text, "x"), (support.GGUF_F32, NAN), (support.GGUF_F32, -1.0)):
                with self.subTest(key=key, value=value):
                    self.refused(variant("key", {key: (kind, value)}), says="key.gguf", only=("evaluate", "quantize rtn"))
        self.refused(variant("freqs", {"llama.rope.freq_base": (text, "x")}, {"rope_freqs.weight": ([4], support.floats([1] * 4))}),
                     says="freqs.gguf", only=("evaluate",))
        self.refused(variant("missing", remove=["blk.1.attn_q.weight"]), says="attn_q")
        self.refused(variant("shape", tensors={"blk.1.attn_q.weight": matrix(32, 16)}), says="blk.1.attn_q.weight")
        self.refused(variant("rows", tensors={"blk.1.attn_q.weight": matrix(33, 32)}), says="blk.1.attn_q.weight")
        self.refused(variant("extra", tensors={"blk.1.attn_q_norm.weight": ([32], support.floats([1] * 32))}), says="attn_q_norm")
        bad = support.tiny_gguf_parts()[1]["blk.0.ffn_up.weight"]
        nan = with_value(("F32", *bad), 3, NAN)[1:]
        self.refused(variant("nan", tensors={"blk.0.ffn_up.weight": nan}), says="nan.gguf", only=("quantize", "quantize rtn"))
        for key in ("tokenizer.ggml.model", "tokenizer.ggml.tokens"):
            self.refused(variant("notok", remove=[key]), says="notok.gguf", but=("inspect", "logits", "quantize rtn"))
        self.refused(variant("toktype", {"tokenizer.ggml.tokens": (support.GGUF_ARRAY, (u32, [1, 2, 3]))}), says="toktype.gguf",
                     but=("inspect", "logits", "quantize rtn"))

    # Tokenizers and architecture files.

    def test_damaged_tokenizer(self):
        with open(os.path.join(STORIES, "tokenizer.model"), "rb") as file:
            whole = file.read()
        model = self.model()
        path = os.path.join(model, "tokenizer.model")
        for content in (b"", b"x", whole[:100], whole[:len(whole) // 2], b"\xff" * 1000, b"\0" * 1000, b"{}"):
            with open(path, "wb") as file:
                file.write(content)
            with self.subTest(content=content[:10], size=len(content)):
                self.expect_error("tokenize", model, "--text", "a", says="tokenizer.model")
                self.refused(model, says="tokenizer.model", only=("evaluate", "generate", "quantize"))
        os.remove(path)
        for content in ("", "{", "{}", "[]", "null", '{"model": 3}', '{"model": {"type": "BPE"}}', '{"model": {"type": "Magic", "vocab": {}}}',
                        '{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}', '{"model": {"type": "BPE", "vocab": {"a": 1e30}, "merges": []}}',
                        '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}}', "[" * 100000):
            with open(os.path.join(model, "tokenizer.json"), "w", encoding="utf-8") as file:
                file.write(content)
            with self.subTest(content=content[:60]):
                self.expect_error("tokenize", model, "--text", "a", says="tokenizer.json")
                self.expect_error("detokenize", model, "--ids", "1", says="tokenizer.json")
                self.refused(model, says="tokenizer.json", only=("evaluate", "quantize"))
        for arguments in (("tokenize", self.path("absent"), "--text", "a"), ("detokenize", self.path("absent"), "--ids", "1"),
                          ("tokenize", self.folder, "--text", "a"), ("tokenize", self.text, "--text", "a"),
                          ("tokenize", STORIES, "--file", self.path("absent")), ("tokenize", STORIES, "--file", self.folder),
                          ("detokenize", STORIES, "--ids", "512"), ("detokenize", STORIES, "--ids=-1"), ("detokenize", STORIES, "--ids", "2147483647")):
            with self.subTest(arguments=arguments):
                self.expect_error(*arguments)

    def test_damaged_architecture_file(self):
        with open(os.path.join(support.ROOT, "architectures", "llama.json"), encoding="utf-8") as file:
            llama = json.load(file)
        model = self.model()

        def variant(change):
            changed = copy.deepcopy(llama)
            change(changed)
            return json.dumps(changed)

        files = ["", "{", "[]", "{}", "null", "[" * 100000,
                 variant(lambda a: a.update(name=3)), variant(lambda a: a.pop("tensors")), variant(lambda a: a.pop("fields")),
                 variant(lambda a: a.update(tensors={})), variant(lambda a: a.update(tensors=[])), variant(lambda a: a.update(fields=[])),
                 variant(lambda a: a["tensors"].pop("query")), variant(lambda a: a["tensors"].update(query=3)),
                 variant(lambda a: a["tensors"].update(query="x" * 100000)), variant(lambda a: a["tensors"].update(query="q.{block}")),
                 variant(lambda a: a["fields"].update(hidden={})), variant(lambda a: a["fields"].update(hidden=None)),
                 variant(lambda a: a["fields"].update(block="sideways")), variant(lambda a: a["fields"].update(norm=1)),
                 variant(lambda a: a["fields"].pop("activation")), variant(lambda a: a["fields"].update(hidden={"key": 1})),
                 variant(lambda a: a["fields"].update(hidden={"key": "hidden_size", "map": 3})),
                 variant(lambda a: a["fields"].update(positions="learned")), variant(lambda a: a.update(ignored_tensors=["("])),
                 variant(lambda a: a.update(ignored_tensors=[3])), variant(lambda a: a.update(ignored_tensors="x")),
                 variant(lambda a: a.update(required_values=[1, 2])), variant(lambda a: a.update(required_values={"hidden_size": 33}))]
        extra = tiny_tensors()
        extra["surprise"] = ("F32", [1], support.floats([1]))
        for content in files:
            path = self.write("architecture.json", content)
            with self.subTest(content=content[:200]):
                for target in (model, self.path("model_extra")):
                    if not os.path.isdir(target):
                        write_model(target, tensors=extra)
                    self.expect_error("quantize", target, "--output", self.path("out"), "--method", "rtn", "--architecture", path, absent=self.path("out"))
        gguf_path = self.write("tiny.gguf", support.gguf(*support.tiny_gguf_parts()))
        for content in (variant(lambda a: a.pop("gguf")), variant(lambda a: a.update(gguf=3)), variant(lambda a: a["gguf"].pop("config")),
                        variant(lambda a: a["gguf"].update(config={"hidden_size": 3})), variant(lambda a: a["gguf"].update(constants=[1])),
                        variant(lambda a: a["gguf"].update(present=[1])), variant(lambda a: a["gguf"].update(interleaved_rows=["nothing"])),
                        variant(lambda a: a["gguf"].update(interleaved_rows=3)), variant(lambda a: a["gguf"].update(tensors={}))):
            path = self.write("architecture.json", content)
            with self.subTest(content=content[-200:]):
                self.expect_error("evaluate", gguf_path, "--data", self.text, "--architecture", path)
        self.expect_error("evaluate", model, "--data", self.text, "--architecture", self.path("absent"), says="absent")
        same = self.write("architecture.json", json.dumps(llama))
        self.run_ok("evaluate", model, "--data", self.text, "--architecture", same, "--sequence-length", 16)


if __name__ == "__main__":
    support.main()
