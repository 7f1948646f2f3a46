"""What scripts rely on: JSON keys, where output goes, how options are written."""

import json
import math
import os

import support
from support import DATA, STORIES, TEXT

COMMON = {"command", "version", "seconds", "peak_memory_bytes"}
SOLVE_INPUT = os.path.join(DATA, "gptq", "b4_row_sym.safetensors")


class ContractTest(support.CliTest):
    def check(self, keys, *arguments):
        """Runs with and without --json; gives the JSON object."""
        result = self.run_ok(*arguments, "--json")
        value = json.loads(result.out)  # exactly one: anything after it is an error
        self.assertIsInstance(value, dict)
        self.assertLessEqual(set(keys) | COMMON, set(value), str(result))
        self.assertEqual(value["command"], arguments[0])
        self.assertRegex(value["version"], r"^\d+\.\d+\.\d+")
        self.assertGreater(value["seconds"], 0)
        self.assertLess(value["seconds"], 60)
        self.assertGreater(value["peak_memory_bytes"], 1 << 20)
        human = self.run_ok(*arguments, "--overwrite") if "--output" in arguments else self.run_ok(*arguments)
        self.assertTrue(human.out.strip(), "without --json there is text for people")
        self.assertRaises(ValueError, json.loads, human.out + "{")
        self.assertFalse(human.out.startswith("{"))
        return value

    def test_quantize(self):
        output = self.path("out")
        value = self.check(["output", "bits_per_weight", "calibration", "layers", "stages"], "quantize", STORIES, "--output", output,
                           "--samples", 2, "--sequence-length", 64)
        self.assertEqual(value["output"], output)
        self.assertEqual(value["calibration"]["samples"], 2)
        self.assertEqual(value["calibration"]["tokens"], 128)
        self.assertEqual(len(value["layers"]), 35)
        for layer in value["layers"]:
            self.assertLessEqual({"name", "rows", "columns", "bits", "group_size", "loss", "relative_error", "damping", "seconds"}, set(layer))
            self.assertTrue(0 <= layer["relative_error"] < 1)
            self.assertGreaterEqual(layer["loss"], 0)
        self.assertEqual(value["layers"][0]["name"], "model.layers.0.self_attn.q_proj")
        for stage, seconds in value["stages"].items():
            self.assertIsInstance(stage, str)
            self.assertGreaterEqual(seconds, 0)

    def test_evaluate(self):
        value = self.check(["perplexity", "negative_log_likelihood", "standard_error", "tokens", "windows", "sequence_length", "protocol",
                            "perplexity_standard_error", "bits_per_byte", "bits_per_word", "bytes", "words", "stride", "text_hash",
                            "activation_bits"],
                           "evaluate", STORIES, "--task", "perplexity", "--data", TEXT, "--windows", 2, "--sequence-length", 100)
        self.assertEqual((value["windows"], value["sequence_length"], value["tokens"], value["protocol"]), (2, 100, 198, "gptq"))

    def test_logits(self):
        tokens = self.write("tokens.safetensors", support.token_file([[1, 2, 3], [4, 5, 6]]))
        output = self.path("logits.safetensors")
        self.check(["output"], "logits", STORIES, "--tokens", tokens, "--output", output)
        with open(output, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        self.assertEqual((header["logits"]["dtype"], header["logits"]["shape"]), ("F32", [2, 3, 512]))

    def test_activation_bits(self):
        """8 and 16 bits round the inputs of quantized weights, by about what they say; 32 is the default of logits and evaluate, 16 of generate."""
        tokens = self.write("tokens.safetensors", support.token_file([[1] + list(range(300, 340))]))
        gptq, gguf = self.path("gptq"), self.path("q8_0.gguf")
        self.run_ok("quantize", STORIES, "--output", gptq, "--method", "rtn", "--group-size", 32)
        self.run_ok("convert", STORIES, "--output", gguf, "--format", "gguf", "--type", "q8_0")
        for model in (gptq, gguf):
            logits = {}
            for bits in (None, 8, 16, 32):
                output = self.path("logits.safetensors")
                options = () if bits is None else ("--activation-bits", bits)
                self.run_ok("logits", model, "--tokens", tokens, "--output", output, "--overwrite", *options)
                logits[bits] = support.read_floats(output)["logits"]
            self.assertEqual(logits[None], logits[32])
            error = {bits: math.dist(logits[bits], logits[32]) / math.hypot(*logits[32]) for bits in (8, 16)}
            self.assertTrue(1e-3 < error[8] < 0.1, error)
            self.assertTrue(1e-7 < error[16] < 1e-3, error)
        arguments = ("evaluate", gptq, "--data", TEXT, "--windows", 2, "--sequence-length", 100)
        results = {bits: self.run_json(*arguments, "--activation-bits", bits) for bits in (8, 16, 32)}
        for bits, result in results.items():
            self.assertEqual(result["activation_bits"], bits)
            self.assertLess(abs(result["perplexity"] / results[32]["perplexity"] - 1), 0.05)
        self.assertEqual(self.run_json(*arguments)["perplexity"], results[32]["perplexity"])
        self.assertNotEqual(results[8]["perplexity"], results[32]["perplexity"])
        generate = ("generate", gptq, "--prompt", "Once upon a time", "--temperature", 0)
        texts = {bits: self.run_json(*generate, "--activation-bits", bits)["text"] for bits in (8, 16, 32)}
        self.assertEqual(texts[16], self.run_json(*generate)["text"])
        for text in texts.values():
            self.assertEqual(text[:20], texts[32][:20])

    def test_kv_bits(self):
        """8 bits take little more than half the memory for keys and values, and say nearly the same; 16 is the default."""
        generate = ("generate", STORIES, "--prompt", "Once upon a time", "--temperature", 0, "--tokens", 40)
        results = {bits: self.run_json(*generate, "--kv-bits", bits) for bits in (8, 16)}
        for bits, result in results.items():
            self.assertEqual(result["kv_bits"], bits)
            self.assertEqual(result["text"][:40], results[16]["text"][:40])
        self.assertEqual(self.run_json(*generate)["ids"], results[16]["ids"])
        self.assertEqual(self.run_json(*generate, "--kv-bits", 8, "--threads", 1)["ids"], results[8]["ids"])
        speed = self.run_json("benchmark", STORIES, "--prefill-tokens", 4, "--decode-tokens", 4, "--context-tokens", 100, "--kv-bits", 8, "--batch", 3, "--threads", 1)
        self.assertEqual((speed["kv_bits"], speed["batch"]), (8, 3))
        self.assertEqual(speed["kv_cache_bytes_per_token"], 2 * 5 * 4 * (8 + 4), "5 blocks of keys and values of 4 heads of 8, and a scale")
        self.assertGreater(speed["bytes_per_token"], 102 * speed["kv_cache_bytes_per_token"])

    def test_solve(self):
        output = self.path("solved.safetensors")
        value = self.check(["loss", "relative_error", "damping"], "solve", SOLVE_INPUT, "--output", output, "--bits", 4, "--group-size", 32)
        self.assertGreater(value["loss"], 0)
        with open(output, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        self.assertLessEqual({"dequantized", "codes", "scales", "zeros", "group_index"}, set(header))
        rows, columns = header["dequantized"]["shape"]
        groups = -(-columns // 32)
        self.assertEqual((header["codes"]["dtype"], header["codes"]["shape"]), ("U8", [rows, columns]))
        self.assertEqual(header["scales"]["shape"], [rows, groups])
        self.assertEqual(header["zeros"]["shape"], [rows, groups])
        self.assertEqual((header["group_index"]["dtype"], header["group_index"]["shape"]), ("I32", [columns]))

    def test_tokenize_and_detokenize(self):
        text = "Once upon a time, Lily ate \u00fcber 3 pears."
        value = self.check(["ids", "count"], "tokenize", STORIES, "--text", text)
        self.assertEqual(value["count"], len(value["ids"]))
        file = self.write("text.txt", text)
        self.assertEqual(self.run_json("tokenize", STORIES, "--file", file)["ids"], value["ids"])
        self.assertEqual(self.run_json("tokenize", os.path.join(STORIES, "tokenizer.model"), "--text", text)["ids"], value["ids"])
        special = self.run_json("tokenize", STORIES, "--text", text, "--special-tokens")["ids"]
        self.assertEqual(special, [1] + value["ids"])
        back = self.check(["text"], "detokenize", STORIES, "--ids", ",".join(map(str, value["ids"])))
        self.assertEqual(back["text"].strip(), text)
        self.assertEqual(self.run_json("tokenize", STORIES, "--text", "")["count"], 0)

    def test_generate(self):
        value = self.check(["text", "ids", "prompt_tokens", "prefill_tokens_per_second", "decode_tokens_per_second"],
                           "generate", STORIES, "--prompt", "Once", "--tokens", 8, "--temperature", 0)
        self.assertEqual(len(value["ids"]), 8)

    def test_inspect(self):
        value = self.check(["architecture", "parameters", "bytes", "quantization", "tensors"], "inspect", STORIES)
        self.assertEqual((value["architecture"], value["parameters"], value["quantization"]), ("llama", 260032, None))
        self.assertEqual(sorted(value["tensors"][0]), ["dtype", "name", "shape"])
        output = self.path("out")
        self.run_ok("quantize", STORIES, "--output", output, "--method", "rtn", "--quiet")
        quantized = self.run_json("inspect", output)
        self.assertEqual(quantized["quantization"]["bits"], 4)
        self.assertEqual(quantized["architecture"], "llama")

    def test_benchmark(self):
        value = self.check(["read_bandwidth_bytes_per_second", "fma_flops_per_second"], "benchmark")
        self.assertGreater(value["read_bandwidth_bytes_per_second"], 0)
        self.assertGreater(value["fma_flops_per_second"], 0)

    def test_both_ways_to_write_an_option(self):
        spaced = self.run_json("evaluate", STORIES, "--data", TEXT, "--windows", "1", "--sequence-length", "64", "--threads", "1")
        joined = self.run_json("evaluate", STORIES, "--data=" + TEXT, "--windows=1", "--sequence-length=64", "--threads=1")
        self.assertEqual(spaced["perplexity"], joined["perplexity"])
        before = self.run_ok("--json", "--threads=1", "evaluate", STORIES, "--data=" + TEXT, "--windows=1", "--sequence-length=64")
        self.assertEqual(before.json["perplexity"], joined["perplexity"])

    def test_progress_goes_to_standard_error_and_quiet_silences_it(self):
        arguments = ("evaluate", STORIES, "--data", TEXT, "--windows", 1, "--sequence-length", 64)
        loud, quiet = self.run_ok(*arguments), self.run_ok(*arguments, "--quiet")
        self.assertIn("evaluate", loud.err)
        self.assertNotIn("evaluate", loud.out)
        self.assertEqual(quiet.err, "")
        self.assertNotIn("\r", loud.err, "no bar is drawn where nobody sees it")
        quantized = self.run_ok("quantize", STORIES, "--output", self.path("out"), "--samples", 1, "--sequence-length", 32, "--quiet")
        for line in quantized.err.splitlines():
            self.assertTrue(line.startswith("gptq: warning: "), line)

    def test_generated_text_streams(self):
        arguments = ("generate", STORIES, "--prompt", "Once upon a time", "--temperature", 0, "--tokens", 20)
        streamed, value = self.run_ok(*arguments), self.run_json(*arguments)
        self.assertEqual(streamed.out.rstrip("\n"), ("Once upon a time" + value["text"]).rstrip("\n"))

    def test_help_and_version(self):
        self.assertRegex(self.run_ok("--version").out, r"^gptq \d+\.\d+\.\d+\n$")
        for arguments in (("--help",), ("quantize", "--help"), ("evaluate", "-h")):
            self.assertIn("Usage", self.run_ok(*arguments).out)

    def test_a_full_standard_output_is_an_error(self):
        with open("/dev/full", "wb") as full:
            result = self.run_gptq("inspect", STORIES, "--json", stdout=full)
        self.assertEqual(result.code, 1, str(result))
        self.assertIn("gptq: error: ", result.err)


if __name__ == "__main__":
    support.main()
