"""`gptq convert`: codes come back from every format as they went in; what is lost is said before it is written."""

import json
import os
import shutil

from support import CliTest, DATA, ROOT, STORIES, main, read_safetensors, token_file

CHECKPOINTS = os.path.join(DATA, "checkpoints")
TINY = os.path.join(ROOT, "data", "tinystories")


class Convert(CliTest):
    def checkpoint(self, name):
        """A golden checkpoint with its tokenizer."""
        folder = self.path(name)
        shutil.copytree(os.path.join(CHECKPOINTS, name), folder)
        for file in os.listdir(os.path.join(CHECKPOINTS, "base")):
            if file.startswith("tokenizer"):
                shutil.copy(os.path.join(CHECKPOINTS, "base", file), folder)
        os.chmod(folder, 0o755)
        return folder

    def convert(self, model, output, *options):
        result = self.run_json("convert", model, "--output", self.path(output), *options)
        return self.path(output), result

    def tensors(self, folder):
        return read_safetensors(os.path.join(folder, "model.safetensors"))

    def expect_same_tensors(self, a, b, ignoring=()):
        a, b = self.tensors(a), self.tensors(b)
        self.assertEqual(sorted(a), sorted(b))
        for name in a:
            if not name.endswith(tuple(ignoring) or "\0"):
                self.assertEqual(a[name], b[name], name)

    def test_codes_come_back_byte_by_byte(self):
        for name, version in (("b4_g128_sym_v1", "gptq"), ("b4_g64_sym_v2", "gptq_v2"), ("b8_row_sym_v1", "gptq"),
                              ("b4_g32_asym_v1", "gptq_v2")):
            source = self.checkpoint(name)
            start, _ = self.convert(source, name + "-start", "--format", version)
            for middle in ("gptq_v2", "compressed-tensors", "gguf"):
                there, result = self.convert(start, "%s-%s" % (name, middle), "--format", middle)
                for linear in result["linears"]:
                    self.assertTrue(linear["kept"].startswith("codes"), linear)
                back, _ = self.convert(there, "%s-%s-back" % (name, middle), "--format", version)
                # Vectors are float32 in GGUF, and float16 when they come back.
                self.expect_same_tensors(start, back)
                self.assertEqual(result["self_check"]["relative_error"], 0)
                for linear in result["linears"]:
                    self.assertEqual("asym" in name and middle == "gguf", linear["kept"] != "codes", linear)

    def test_v1_and_v2_hold_the_same(self):
        source = self.checkpoint("b3_g64_sym_v1")
        second, _ = self.convert(source, "second", "--format", "gptq_v2")
        first, _ = self.convert(second, "first", "--format", "gptq")
        self.expect_same_tensors(source, first)
        with open(os.path.join(second, "config.json")) as file:
            self.assertEqual(json.load(file)["quantization_config"]["checkpoint_format"], "gptq_v2")

    def test_activation_order_goes_where_there_is_room_for_it(self):
        source = self.checkpoint("b4_g64_desc_act_v1")
        there, _ = self.convert(source, "there", "--format", "compressed-tensors")
        back, _ = self.convert(there, "back", "--format", "gptq")
        self.expect_same_tensors(source, back)
        result = self.run_ok("convert", source, "--output", self.path("out.gguf"), "--format", "gguf", "--dry-run")
        self.assertIn("14 matrices, 4 bits, groups of 64, activation order -> F16", result.err)
        self.assertIn("do not follow each other", result.err)
        self.expect_nothing_at(self.path("out.gguf"))

    def test_few_bits_take_the_smallest_type_that_holds_them(self):
        source = self.checkpoint("b2_g32_asym_v2")
        file, result = self.convert(source, "two.gguf", "--format", "gguf")
        self.assertEqual({linear["to"] for linear in result["linears"]}, {"Q4_0"})
        self.assertEqual({linear["kept"] for linear in result["linears"]}, {"codes"})
        back, result = self.convert(file, "back", "--format", "gptq")
        self.assertEqual({linear["from"] for linear in result["linears"]}, {"4 bits, groups of 32"})

    def test_floats_go_to_gguf_and_back(self):
        file, _ = self.convert(os.path.join(CHECKPOINTS, "base"), "base.gguf", "--format", "gguf")
        back, result = self.convert(file, "back", "--format", "safetensors")
        self.expect_same_tensors(os.path.join(CHECKPOINTS, "base"), back)
        self.assertEqual(result["self_check"]["relative_error"], 0)
        wide, _ = self.convert(file, "wide", "--format", "safetensors", "--type", "f32")
        self.assertEqual({t[0] for t in self.tensors(wide).values()}, {"F32"})

    def test_text_is_cut_the_same_way(self):
        text = os.path.join(TINY, "evaluation.txt")
        file, _ = self.convert(STORIES, "stories.gguf", "--format", "gguf")
        folder, _ = self.convert(file, "stories", "--format", "safetensors")
        ids = self.run_json("tokenize", STORIES, "--file", text)["ids"]
        self.assertEqual(self.run_json("tokenize", file, "--file", text)["ids"], ids)
        self.assertEqual(self.run_json("tokenize", folder, "--file", text)["ids"], ids)

    def test_a_written_file_is_that_of_llama_cpp(self):
        golden = os.path.join(DATA, "formats", "gguf", "tiny128-F16.gguf")
        file, _ = self.convert(os.path.join(CHECKPOINTS, "base"), "ours.gguf", "--format", "gguf")
        a, b = self.run_json("inspect", golden), self.run_json("inspect", file)
        self.assertEqual(a["tensors"], b["tensors"])
        floats = self.convert(file, "ours", "--format", "safetensors")[0]
        self.expect_same_tensors(floats, self.convert(golden, "theirs", "--format", "safetensors")[0])

    def test_rounding_is_said_with_its_error(self):
        file, result = self.convert(os.path.join(CHECKPOINTS, "base"), "q8.gguf", "--format", "gguf", "--type", "q8_0",
                                    "--embedding-bits", "8", "--head-bits", "4")
        self.assertEqual(len(result["linears"]), 16)
        self.assertEqual(result["self_check"]["relative_error"], 0)
        for linear in result["linears"]:
            head = linear["name"] == "lm_head"
            self.assertEqual((linear["kept"], linear["to"]), ("rounded", "Q4_0" if head else "Q8_0"))
            self.assertLess(linear["relative_error"], 0.2 if head else 0.01)
            self.assertGreater(linear["relative_error"], 0.0001)
        types = self.run_json("inspect", file)
        self.assertEqual({t["dtype"] for t in types["tensors"] if t["name"] == "token_embd.weight"}, {"Q8_0"})
        self.assertEqual({t["dtype"] for t in types["tensors"] if t["name"] == "output.weight"}, {"Q4_0"})

    def test_bytes_do_not_depend_on_threads(self):
        source = os.path.join(DATA, "formats", "gguf", "tiny256-F16.gguf")
        files, reports = [], []
        for threads in ("1", "3"):
            file, result = self.convert(source, threads, "--format", "gguf", "--type", "q4_k", "--embedding-bits", "6",
                                        "--head-bits", "8", "--threads", threads)
            reports.append(result["linears"])
            with open(file, "rb") as written:
                files.append(written.read())
        self.assertEqual(*files)
        self.assertEqual(*reports)

    def test_grids_of_gguf_alone_become_floats(self):
        source = os.path.join(DATA, "formats", "gguf", "tiny256-Q4_K_M.gguf")
        folder, result = self.convert(source, "floats", "--format", "safetensors")
        self.assertEqual({linear["kept"] for linear in result["linears"]}, {"floats"})
        self.expect_error("convert", source, "--output", self.path("no"), "--format", "gptq",
                          says=["no integer codes", "gptq quantize"], absent=self.path("no"))
        copy, result = self.convert(source, "copy.gguf", "--format", "gguf")
        self.assertEqual(result["linears"], [])
        self.assertEqual(self.run_json("inspect", source)["tensors"], self.run_json("inspect", copy)["tensors"])

    def test_llama_cpps_q4_0_becomes_gptq(self):
        source = os.path.join(DATA, "formats", "gguf", "tiny128-Q4_0.gguf")
        folder, result = self.convert(source, "gptq", "--format", "gptq")
        self.assertEqual({linear["kept"] for linear in result["linears"] if "layers" in linear["name"]}, {"codes"})
        self.assertEqual(result["self_check"]["relative_error"], 0)
        self.convert(folder, "again.gguf", "--format", "gguf")
        before, after = self.run_json("inspect", source), self.run_json("inspect", self.path("again.gguf"))
        linears = lambda report: {t["name"]: t["dtype"] for t in report["tensors"] if "blk" in t["name"]}
        self.assertEqual(linears(before), linears(after))

    def test_an_embedding_that_becomes_floats_is_named(self):
        source = os.path.join(DATA, "formats", "gguf", "tiny128-Q8_0.gguf")
        for form in ("gptq", "safetensors"):
            result = self.run_ok("convert", source, "--output", self.path(form), "--format", form)
            embedding = [line for line in result.err.splitlines() if "Q8_0 -> F16" in line]
            self.assertEqual(len(embedding), 1, result.err)
            self.assertIn("2 matrices", embedding[0])  # and the head
            self.assertIn("folders keep codes of the blocks' linears only", embedding[0])

    def test_linears_are_counted_without_the_ends(self):
        def count(*arguments):
            return self.run_ok("convert", *arguments, "--dry-run").out
        source = os.path.join(DATA, "formats", "gguf", "tiny128-Q8_0.gguf")
        self.assertIn("14 quantized linears, codes of 14 kept", count(source, "--output", self.path("a"), "--format", "gptq"))
        self.assertIn("14 quantized linears, codes of 14 kept", count(source, "--output", self.path("a"), "--format", "gguf", "--embedding-bits", 4))
        self.assertIn("14 quantized linears, codes of 0 kept", count(source, "--output", self.path("a"), "--format", "gguf", "--type", "q4_0"))
        self.assertIn("0 quantized linears, codes of 0 kept", count(STORIES, "--output", self.path("a"), "--format", "gguf"))

    def test_what_cannot_be_is_refused(self):
        zeros = self.checkpoint("b2_g32_asym_v2")
        out = self.path("out")
        self.expect_error("convert", zeros, "--output", out, "--format", "gptq", says=["zero of 0", "gptq_v2"],
                          absent=out)
        self.expect_error("convert", STORIES, "--output", out, "--format", "gptq", says="gptq quantize", absent=out)
        opt = os.path.join(DATA, "models", "opt_125m_style")
        self.expect_error("convert", opt, "--output", out, "--format", "gguf", absent=out)
        self.expect_error("convert", self.path("none"), "--output", out, "--format", "gguf", says="none", absent=out)
        existing = self.write("there.gguf", "text")
        self.expect_error("convert", STORIES, "--output", existing, "--format", "gguf", says="exists")
        self.expect_error("convert", STORIES, "--output", existing, "--format", "gguf", "--overwrite",
                          says="GGUF files only")
        self.expect_usage_error("convert", STORIES, "--output", out, "--format", "awq", says="awq")
        self.expect_usage_error("convert", STORIES, "--output", out, says="--format")
        self.expect_usage_error("convert", STORIES, "--output", out, "--format", "gptq", "--type", "q4_0", says="--type")
        self.expect_usage_error("convert", STORIES, "--output", out, "--format", "gguf", "--type", "q9", says="q9")
        self.expect_usage_error("convert", STORIES, "--output", out, "--format", "safetensors", "--type", "q4_0",
                                says="bf16")
        self.expect_usage_error("convert", STORIES, "--output", out, "--format", "gptq", "--head-bits", "8",
                                says="gguf")

    def test_a_gguf_file_replaces_another(self):
        file, _ = self.convert(STORIES, "stories.gguf", "--format", "gguf")
        self.convert(STORIES, "stories.gguf", "--format", "gguf", "--overwrite", "--type", "bf16")
        self.assertIn("BF16", self.run_json("inspect", file)["types"])
        self.assertEqual(os.listdir(self.folder), ["stories.gguf"])


class QuantizeToOtherFormats(CliTest):
    OPTIONS = ["--samples", "4", "--sequence-length", "64"]

    def quantize(self, output, *options):
        return self.run_json("quantize", STORIES, "--output", self.path(output), *self.OPTIONS, *options)

    def test_gguf(self):
        result = self.quantize("q.gguf", "--format", "gguf", "--embedding-bits", "8")
        self.assertEqual(len(result["layers"]), 30)  # rows of 172 do not fill blocks
        self.assertAlmostEqual(result["bits_per_weight"], 4.5)
        self.assertLess(result["self_check"]["relative_error"], 0.05)
        report = self.run_json("inspect", self.path("q.gguf"))
        self.assertEqual(report["types"]["Q4_0"], 30)
        self.assertEqual(os.listdir(self.folder), ["q.gguf"])
        self.assertLess(self.perplexity(self.path("q.gguf")), 1.3 * self.perplexity(STORIES))
        self.expect_error("quantize", STORIES, "--output", self.path("q.gguf"), "--format", "gguf", *self.OPTIONS,
                          says="exists")

    def test_readers_of_folders_are_no_matter_of_gguf(self):
        result = self.run_ok("quantize", STORIES, "--output", self.path("three.gguf"), *self.OPTIONS, "--format", "gguf", "--bits", "3", "--skip", "k_proj")
        for reader in ("vLLM", "SGLang"):
            self.assertNotIn(reader, result.err)
        self.assertIn("note: codes of 3 bits take 4.5 bits per weight in GGUF, as Q4_0, in 25 linears", result.err)
        four = self.run_ok("quantize", STORIES, "--output", self.path("four.gguf"), *self.OPTIONS, "--format", "gguf")
        self.assertNotIn("bits per weight in GGUF", four.err)

    def test_a_plan_refuses_what_the_run_does(self):
        for options in (("--format", "gguf", "--target-bits", "4"), ("--target-bits", "2.1", "--group-sizes", "16")):
            for dry in ((), ("--dry-run",)):
                result = self.expect_usage_error("quantize", STORIES, "--output", self.path("out"), *self.OPTIONS, *options, *dry,
                                                 says=["--target-bits", "at least"])
                self.assertNotIn("measure sensitivities", result.err)

    def types(self, file):
        return {t["name"].removesuffix(".weight"): t["dtype"] for t in self.run_json("inspect", self.path(file))["tensors"]}

    def test_types_of_gguf_with_their_own_grids(self):
        losses = {}
        with open(os.path.join(TINY, "evaluation.txt"), encoding="utf-8") as file:
            text = self.write("text.txt", " ".join(file.read().split()))  # extra spaces, which GGUF's tokenizer keeps
        for method in ("gptq", "rtn"):
            result = self.run_json("quantize", STORIES, "--output", self.path(method + ".gguf"), "--format", "gguf", "--type", "q4_1",
                                   "--method", method, "--calibration", os.path.join(TINY, "calibration.jsonl"), "--samples", "32",
                                   "--sequence-length", "128")
            self.assertEqual({layer["type"] for layer in result["layers"]}, {"Q4_1"})
            self.assertAlmostEqual(result["bits_per_weight"], 5)
            self.assertLess(result["self_check"]["relative_error"], 1e-4)
            self.assertEqual(self.types(method + ".gguf")["blk.0.attn_q"], "Q4_1")
            compared = self.run_json("compare", STORIES, self.path(method + ".gguf"), "--data", text,
                                     "--sequence-length", "128", "--windows", "16")
            losses[method] = compared["kl_mean"]
        self.assertLess(losses["gptq"], 0.8 * losses["rtn"])

    def test_rows_that_do_not_fill_blocks_take_another_type(self):
        self.run_ok("quantize", STORIES, "--output", self.path("k.gguf"), *self.OPTIONS, "--format", "gguf", "--type", "q4_k",
                    "--dry-run")
        result = self.run_ok("quantize", STORIES, "--output", self.path("k.gguf"), *self.OPTIONS, "--format", "gguf",
                             "--type", "q4_k")
        self.assertIn("its rows do not fill the blocks of Q4_K; it becomes Q5_0 (and 29 more linears)", result.err)
        self.assertIn("its rows do not fill the blocks of Q4_K; left as it is (and 4 more linears)", result.err)
        self.assertEqual(self.types("k.gguf")["blk.0.attn_q"], "Q5_0")
        self.assertEqual(self.types("k.gguf")["blk.0.ffn_down"], "F16")

    def test_super_blocks(self):
        ids = self.write("ids.safetensors", token_file([[(i * 37 + 11 * j) % 320 for i in range(64)] for j in range(8)]))
        source = os.path.join(DATA, "formats", "gguf", "tiny256-F16.gguf")
        for kind, bits in (("Q2_K", 2.625), ("Q3_K", 3.4375), ("Q4_K", 4.5), ("Q5_K", 5.5), ("Q6_K", 6.5625)):
            result = self.run_json("quantize", source, "--output", self.path(kind), "--calibration", ids, "--format", "gguf",
                                   "--type", kind.lower())
            self.assertAlmostEqual(result["bits_per_weight"], bits)
            self.assertLess(result["self_check"]["relative_error"], 1e-4)
            self.assertEqual(self.types(kind)["blk.0.attn_q"], kind)
            # Rounding the finished values again must not find other blocks than a reader sees.
            copy = self.run_json("convert", self.path(kind), "--output", self.path(kind + ".copy"), "--format", "gguf")
            self.assertEqual(copy["linears"], [])
        result = self.run_json("quantize", source, "--output", self.path("mixed"), "--calibration", ids, "--format", "gguf",
                               "--target-bits", "4")
        self.assertLessEqual(result["bits_per_weight"], 4)
        self.assertGreater(result["bits_per_weight"], 3.3)
        self.assertLessEqual({layer["type"] for layer in result["layers"]}, {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"})

    def test_types_are_refused_where_they_cannot_be(self):
        out = self.path("out")
        for options, says in ((["--format", "gptq", "--type", "q4_0"], "only --format gguf"),
                              (["--format", "gguf", "--type", "q9"], "q9"),
                              (["--format", "gguf", "--type", "f16"], "blocks"),
                              (["--format", "gguf", "--type", "q4_0", "--bits", "4"], "--bits"),
                              (["--format", "gguf", "--type", "q4_0", "--asymmetric"], "--asymmetric"),
                              (["--format", "gguf", "--type", "q4_0", "--bits-for", "q=8"], "--bits-for"),
                              (["--format", "gguf", "--type", "q4_0", "--target-bits", "4"], "--target-bits"),
                              (["--format", "gguf", "--type", "q4_0", "--order", "activation"], "--order group"),
                              (["--format", "gguf", "--target-bits", "4", "--group-sizes", "32"], "--group-sizes")):
            self.expect_usage_error("quantize", STORIES, "--output", out, *options, says=says)
            self.assertFalse(os.path.exists(out))

    def test_gguf_holds_the_codes_of_gptq(self):
        options = ["--group-size", "32", "--skip", "down_proj"]
        self.quantize("folder", "--format", "gptq", *options)
        self.quantize("file.gguf", "--format", "gguf", *options)
        self.run_ok("convert", self.path("folder"), "--output", self.path("converted.gguf"), "--format", "gguf")
        tails = []
        for name in ("file.gguf", "converted.gguf"):
            with open(self.path(name), "rb") as file:
                tails.append(file.read()[-200000:])
        self.assertEqual(*tails)

    def test_compressed_tensors_holds_the_codes_of_gptq(self):
        options = ["--asymmetric", "--bits", "3", "--group-size", "64", "--bits-for", "v_proj=5", "--skip", "2.*down"]
        self.quantize("compressed", "--format", "compressed-tensors", *options)
        options[options.index("v_proj=5")] = "v_proj=8"
        folder = self.path("compressed")
        with open(os.path.join(folder, "config.json")) as file:
            config = json.load(file)["quantization_config"]
        self.assertEqual(config["quant_method"], "compressed-tensors")
        self.assertEqual(len(config["config_groups"]), 2)
        self.assertIn("model.layers.2.mlp.down_proj", config["ignore"])
        self.assertFalse(os.path.exists(os.path.join(folder, "quantize_config.json")))
        result = self.run_json("convert", folder, "--output", self.path("gptq"), "--format", "gptq_v2")
        self.assertEqual({linear["kept"] for linear in result["linears"]}, {"codes"})
        self.assertEqual(self.perplexity(folder), self.perplexity(self.path("gptq")))


if __name__ == "__main__":
    main()
