"""Quantize, read back, compare: what `gptq quantize` writes is what `gptq evaluate` reads, whatever the options."""

import hashlib
import json
import math
import os

import support
from support import STORIES, TEXT


class QuantizeTest(support.CliTest):
    def quantize(self, name, *options):
        output = self.path(name)
        arguments = ["quantize", STORIES, "--output", output, "--quiet", *options]
        if "rtn" not in options:
            arguments += ["--samples", 4, "--sequence-length", 128]
        value = self.run_json(*arguments)
        self.assertEqual(value["output"], output)
        self.assertFalse(os.path.exists(output + ".partial"))
        return value

    def hashes(self, name):
        folder = self.path(name)
        return {file: hashlib.sha256(open(os.path.join(folder, file), "rb").read()).hexdigest() for file in sorted(os.listdir(folder))}

    def config(self, name):
        with open(self.path(name, "quantize_config.json"), encoding="utf-8") as file:
            beside = json.load(file)
        with open(self.path(name, "config.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["quantization_config"], beside)
        return beside

    def good(self, name, below):
        """The model reads back, predicts text about as well as the original, and the same with any number of threads."""
        one = self.perplexity(self.path(name), "--threads", 1)
        self.assertTrue(math.isfinite(one))
        self.assertLess(one, below)
        self.assertEqual(one, self.perplexity(self.path(name), "--threads", 2))
        return one

    def setUp(self):
        super().setUp()
        self.original = self.perplexity(STORIES)

    def test_same_bytes_with_any_number_of_threads(self):
        for method in ("gptq", "rtn"):
            found = []
            for threads in (1, 2, 3):
                name = "%s%d" % (method, threads)
                self.quantize(name, "--method", method, "--threads", threads, "--bits", 3, "--group-size", 32)
                found.append(self.hashes(name))
            self.assertEqual(found[0], found[1])
            self.assertEqual(found[0], found[2])
            self.assertLessEqual({"config.json", "quantize_config.json", "model.safetensors", "tokenizer.model", "README.md"}, set(found[0]))

    def test_same_seed_same_bytes(self):
        self.quantize("a", "--seed", 1)
        self.quantize("b", "--seed", 1)
        self.quantize("c", "--seed", 2)
        self.assertEqual(self.hashes("a"), self.hashes("b"))
        self.assertNotEqual(self.hashes("a"), self.hashes("c"))

    def test_overwrite(self):
        self.quantize("out", "--bits", 4)
        self.quantize("wanted", "--bits", 8)
        with open(self.path("out", "old"), "w", encoding="utf-8") as file:
            file.write("of the folder that is replaced")
        self.quantize("out", "--bits", 8, "--overwrite")
        self.assertEqual(self.hashes("out"), self.hashes("wanted"))
        self.expect_nothing_at(self.path("out.replaced"))

    def test_what_an_earlier_run_left_does_no_harm(self):
        self.write("out.partial/model.safetensors", "half")
        self.write("out.partial/strange", "x")
        self.quantize("out")
        self.quantize("clean")
        self.assertEqual(self.hashes("out"), self.hashes("clean"))

    def test_bits_and_group_sizes(self):
        limits = {2: 40, 3: 2.5, 4: 1.4, 8: 1.02}  # times the original's perplexity
        for bits, limit in limits.items():
            for group_size in (32, 64, 128, -1):
                for method in ("gptq", "rtn"):
                    name = "b%d_g%d_%s" % (bits, group_size, method)
                    with self.subTest(name=name):
                        value = self.quantize(name, "--bits", bits, "--group-size", group_size, "--method", method)
                        config = self.config(name)
                        self.assertEqual((config["bits"], config["group_size"], config["sym"], config["checkpoint_format"], config["quant_method"]),
                                         (bits, group_size, True, "gptq", "gptq"))
                        self.assertTrue(bits < value["bits_per_weight"] < bits + 1)
                        self.good(name, self.original * limit * (1 if method == "gptq" else 1.5))

    def test_gptq_beats_rounding_at_three_bits(self):
        for options in ((), ("--asymmetric",), ("--group-size", 32)):
            name = "-".join(["x", *map(str, options)])
            self.quantize(name, "--bits", 3, *options)
            self.quantize(name + "rtn", "--bits", 3, "--method", "rtn", *options)
            self.assertLess(self.perplexity(self.path(name)), self.perplexity(self.path(name + "rtn")), options)

    def test_formats_and_symmetry(self):
        for name, options, expected in (("v1", ("--format", "gptq"), ("gptq", True)), ("v2", ("--format", "gptq_v2"), ("gptq_v2", True)),
                                        ("asymmetric", ("--asymmetric",), ("gptq_v2", False)),
                                        ("v1_asymmetric", ("--asymmetric", "--format", "gptq"), ("gptq", False)),
                                        ("v2_asymmetric", ("--asymmetric", "--format", "gptq_v2"), ("gptq_v2", False))):
            for bits, limit in ((4, 1.4), (2, 30)):
                full = "%s_%d" % (name, bits)
                with self.subTest(name=full):
                    self.quantize(full, "--bits", bits, "--group-size", 32, *options)
                    config = self.config(full)
                    self.assertEqual((config["checkpoint_format"], config["sym"]), expected)
                    self.good(full, self.original * limit)

    def test_orders(self):
        for order in ("natural", "activation", "group"):
            for extra in ((), ("--static-groups",), ("--group-grid", "reference"), ("--clip", "mse"), ("--asymmetric",)):
                name = "-".join([order, *(e.strip("-") for e in extra)])
                with self.subTest(name=name):
                    self.quantize(name, "--order", order, "--group-size", 32, *extra)
                    self.assertEqual(self.config(name)["desc_act"], order == "activation" and extra != ("--static-groups",))
                    self.good(name, self.original * 1.4)

    def test_other_options(self):
        for name, options in (("reference", ("--recipe", "reference", "--asymmetric", "--group-size", 64, "--format", "gptq_v2")),
                              ("default", ("--recipe", "default")), ("damped", ("--damping", "0.1")), ("undamped", ("--damping", "0")),
                              ("block", ("--block-size", "17")), ("bfloat16", ("--scale-type", "bfloat16")), ("float32", ("--scale-type", "float32"))):
            with self.subTest(name=name):
                self.quantize(name, *options)
                self.good(name, self.original * 1.5)

    def test_skip_and_bits_for(self):
        value = self.quantize("out", "--skip", r"layers\.0\.", "--skip", "o_proj$", "--bits-for", "down_proj=8", "--bits-for", r"layers\.3\.mlp\.down_proj=3")
        layers = {layer["name"]: layer["bits"] for layer in value["layers"]}
        self.assertEqual(len(layers), 4 * 6)
        self.assertNotIn("model.layers.0.self_attn.q_proj", layers)
        self.assertEqual(layers["model.layers.2.mlp.down_proj"], 8)
        self.assertEqual(layers["model.layers.3.mlp.down_proj"], 3, "the last that matches counts")
        self.assertEqual(layers["model.layers.1.mlp.up_proj"], 4)
        dynamic = self.config("out")["dynamic"]
        self.assertIn("-:^model\\.layers\\.0\\.self_attn\\.q_proj$", dynamic)
        self.assertIn("-:^model\\.layers\\.4\\.self_attn\\.o_proj$", dynamic)
        self.assertEqual(dynamic["+:^model\\.layers\\.2\\.mlp\\.down_proj$"]["bits"], 8)
        tensors = {tensor["name"] for tensor in self.run_json("inspect", self.path("out"))["tensors"]}
        self.assertIn("model.layers.0.self_attn.q_proj.weight", tensors)
        self.assertIn("model.layers.1.self_attn.q_proj.qweight", tensors)
        self.assertNotIn("model.layers.1.self_attn.q_proj.weight", tensors)
        self.good("out", self.original * 1.3)

    def test_calibration_files(self):
        story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 40
        lines = "".join(json.dumps({"text": story}) + "\n" for _ in range(4))
        tokens = support.token_file([self.run_json("tokenize", STORIES, "--text", story)["ids"][i * 50:i * 50 + 50] for i in range(8)])
        for name, content in (("story.txt", story * 4), ("story.jsonl", lines), ("story.safetensors", tokens)):
            with self.subTest(name=name):
                value = self.quantize(name + ".out", "--calibration", self.write(name, content))
                expected = (8, 400) if name.endswith(".safetensors") else (4, 512)
                self.assertEqual((value["calibration"]["samples"], value["calibration"]["tokens"]), expected)
                self.good(name + ".out", self.original * 1.6)

    def test_from_gguf(self):
        source = self.write("tiny.gguf", support.gguf(*support.tiny_gguf_parts()))
        text = self.write("text.txt", "once upon a time there was a dog " * 40)
        outputs = []
        for threads in (1, 3):
            output = self.path("from%d" % threads)
            self.run_ok("quantize", source, "--output", output, "--bits", 8, "--group-size", 32, "--calibration", text, "--sequence-length", 32,
                        "--threads", threads, "--quiet")
            outputs.append(self.hashes("from%d" % threads))
        self.assertEqual(outputs[0], outputs[1])
        self.assertLessEqual({"config.json", "tokenizer.json", "model.safetensors"}, set(outputs[0]))
        names = {tensor["name"] for tensor in self.run_json("inspect", output)["tensors"]}
        self.assertIn("model.layers.1.self_attn.k_proj.qweight", names)
        self.assertIn("model.embed_tokens.weight", names)
        evaluate = ("--data", text, "--sequence-length", 32)
        before, after = (self.run_json("evaluate", model, *evaluate) for model in (source, output))
        self.assertEqual(before["tokens"], after["tokens"], "both tokenize alike")
        self.assertAlmostEqual(before["perplexity"] / after["perplexity"], 1, delta=0.02)


class Head(support.CliTest):
    """--head-bits: the head by the same method, in every format that can hold it."""

    def quantize(self, name, *options):
        ids = self.write("ids.safetensors", support.token_file([[(i * 37 + 11 * j) % 320 for i in range(64)] for j in range(8)]))
        return self.run_json("quantize", os.path.join(support.DATA, "checkpoints", "base"), "--output", self.path(name), "--group-size", 32,
                             "--calibration", ids, *options)

    def head_error(self, name, *options):
        result = self.quantize(name, *options)
        self.assertLess(result["self_check"]["relative_error"], 1e-4)
        head, = [layer for layer in result["layers"] if layer["name"] == "lm_head"]
        self.assertEqual((head["rows"], head["columns"], result["layers"][-1]["name"]), (320, 128, "lm_head"))
        return head

    def test_folders(self):
        for version in ("gptq", "gptq_v2", "compressed-tensors"):
            head = self.head_error(version, "--format", version, "--head-bits", 8, "--skip", "layers.1.mlp.down")
            self.assertEqual((head["bits"], head["tokens"] > 512), (8, True))
            with open(self.path(version, "config.json"), encoding="utf-8") as file:
                config = json.load(file)["quantization_config"]
            if version == "compressed-tensors":
                self.assertEqual(config["ignore"], ["model.layers.1.mlp.down_proj"])
            else:
                self.assertTrue(config["lm_head"])
            again = self.run_json("convert", self.path(version), "--output", self.path(version + "2"), "--format", "gptq_v2")
            self.assertEqual(again["self_check"]["relative_error"], 0)
            self.assertIn("lm_head.qweight", support.read_safetensors(self.path(version + "2", "model.safetensors")))

    def test_gguf(self):
        for bits, kind in ((8, "Q8_0"), (6, "Q8_0"), (4, "Q4_0")):
            head = self.head_error("%d.gguf" % bits, "--format", "gguf", "--head-bits", bits)
            self.assertEqual(head["type"], kind)  # rows of 128 do not fill Q6_K's blocks
            self.assertLess(head["relative_error"], 0.1)
        types = {t["name"]: t["dtype"] for t in self.run_json("inspect", self.path("4.gguf"))["tensors"]}
        self.assertEqual(types["output.weight"], "Q4_0")

    def test_rounding(self):
        result = self.quantize("rtn", "--method", "rtn", "--head-bits", 4)
        self.assertLess(result["self_check"]["relative_error"], 1e-4)
        self.assertEqual(result["layers"][-1]["name"], "lm_head")

    def test_a_run_goes_on_at_the_head(self):
        self.quantize("whole", "--head-bits", 4)
        ids = self.path("ids.safetensors")
        arguments = ["quantize", os.path.join(support.DATA, "checkpoints", "base"), "--output", self.path("killed"), "--group-size", "32",
                     "--calibration", ids, "--head-bits", "4", "--quiet"]
        killed = 0
        for point in range(1, 200, 7):
            code = self.run_gptq(*arguments, env=dict(os.environ, GPTQ_FAULT="kill:%d" % point), timeout=300).code
            if code == 0:
                break
            killed += 1
        self.assertGreater(killed, 2)
        self.run_ok(*arguments[:-1], *([] if not os.path.exists(self.path("killed")) else ["--overwrite"]))
        for file in ("config.json", "model.safetensors"):
            with open(self.path("whole", file), "rb") as a, open(self.path("killed", file), "rb") as b:
                self.assertEqual(a.read(), b.read(), file)

    def test_tied_heads_are_refused(self):
        self.expect_usage_error("quantize", STORIES, "--output", self.path("out"), "--head-bits", 4, says=["head is its embedding"])
        self.expect_usage_error("quantize", STORIES, "--output", self.path("out"), "--format", "gguf", "--head-bits", 4,
                                says=["--embedding-bits"])
        self.expect_usage_error("quantize", STORIES, "--output", self.path("out"), "--head-bits", 5, says=["--head-bits 5", "2, 3, 4 or 8"])


if __name__ == "__main__":
    support.main()
