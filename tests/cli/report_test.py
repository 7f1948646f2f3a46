"""--report, gptq report, gptq sweep and model cards."""

import json
import os
import re
import shutil

import support
from support import DATA, STORIES, TEXT

TASK = "".join(json.dumps({"context": "Once upon a", "choices": ["time", "kztq"], "answer": answer}) + "\n" for answer in (0, 1, 0))
SMALL = ("--samples", 4, "--group-size", 32)


class ReportTest(support.CliTest):
    def page(self, path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for part in ("http:", "https:", "src=", "href=", "<script"):
            self.assertNotIn(part, text)
        self.assertEqual(text.count("<svg"), text.count("</svg>"))
        self.assertTrue(text.endswith("</html>\n"))
        return text

    def test_pages_of_commands(self):
        model, page = self.path("q4"), self.path("page.html")
        value = self.run_json("quantize", STORIES, "--output", model, *SMALL, "--sequence-length", 128, "--report", page)
        self.assertEqual(value["arguments"][:2], ["quantize", STORIES])
        text = self.page(page)
        for part in ("Relative error of each linear", "self_attn.q_proj", "Memory at the end of each stage", "--order"):
            self.assertIn(part, text)
        self.assertLessEqual({"dead_inputs", "outlier_inputs"}, set(value["layers"][0]))
        self.assertEqual(set(value["stages"]) - {"load"}, set(value["stage_memory_bytes"]))
        self.assertRegex(value["source_hash"], "^[0-9a-f]{16}$")
        self.run_ok("compare", STORIES, model, "--data", TEXT, "--windows", 1, "--sequence-length", 64, "--report", page)
        text = self.page(page)
        self.assertIn("q4 against stories260K", text)
        self.assertIn("Tokens that differ most", text)
        self.run_ok("evaluate", model, "--data", TEXT, "--windows", 1, "--sequence-length", 64, "--report", page)
        self.assertIn("bits per byte", self.page(page))

    def test_rate(self):
        size = ("--data", TEXT, "--windows", 1, "--sequence-length", 64)
        value = self.run_json("evaluate", STORIES, *size, "--measure-rate")
        self.assertAlmostEqual(value["share_of_matrix_products"], value["flops_per_second"] / value["matrix_product_flops_per_second"])
        self.assertNotIn("share_of_matrix_products", self.run_json("evaluate", STORIES, *size))
        self.assertIn("GFLOP/s", self.run_ok("evaluate", STORIES, *size, "--measure-rate").out)

    def test_several_runs(self):
        files = []
        for bits in (3, 4):
            model = self.path("bits%d" % bits)
            for command in (("quantize", STORIES, "--output", model, "--method", "rtn", "--bits", bits, "--group-size", 32),
                            ("compare", STORIES, model, "--data", TEXT, "--windows", 1, "--sequence-length", 64)):
                files.append(self.write("%d.json" % len(files), json.dumps(self.run_json(*command))))
        page = self.path("runs.html")
        self.assertEqual(self.run_json("report", *files, "--output", page)["results"], 4)
        text = self.page(page)
        self.assertRegex(text, r"<td>bits3</td><td>3\.\d+</td><td>[0-9.]+ kB</td>")
        self.assertIn("KL divergence, wikitext2-test.txt", text)
        self.expect_error("report", self.write("bad.json", "{\"a\": 1}"), "--output", page, says="bad.json")
        self.expect_error("report", self.path("none.json"), "--output", page, says="none.json")
        empty = self.write("empty.json", json.dumps({"command": "evaluate"}))
        self.expect_error("report", empty, "--output", self.path("empty.html"), says="nothing was measured", absent=self.path("empty.html"))

    def test_bad_report_paths(self):
        self.expect_usage_error("evaluate", STORIES, "--data", TEXT, "--report", self.path("no", "page.html"), says="does not exist")
        self.expect_usage_error("evaluate", STORIES, "--data", TEXT, "--report", self.folder, says="is a folder")

    def test_model_card(self):
        with open(os.path.join(STORIES, "README.md"), encoding="utf-8") as file:
            source = file.read()
        named, model = self.path("named"), self.path("out")
        shutil.copytree(STORIES, named)
        with open(os.path.join(named, "README.md"), "w", encoding="utf-8") as file:
            file.write("---\nlicense: mit\n---\n# Stories 260K\n" + source)
        self.run_ok("quantize", named, "--output", model, *SMALL, "--sequence-length", 128)
        with open(os.path.join(model, "README.md"), encoding="utf-8") as file:
            card = file.read()
        self.assertNotEqual(card, source)
        self.assertTrue(card.startswith("---\n"))
        for part in ("license: \"mit\"", "# Stories 260K, quantized", "tags: [gptq, 4-bit, gptq.cpp]", "from_pretrained", "Relative error", "`--bits` | 4",
                     "everything else is as it was", "of the program's own set", "- vLLM and SGLang refuse inputs"):
            self.assertIn(part, card)
        for part in ("base_model", "vllm serve"):
            self.assertNotIn(part, card)
        self.assertNotIn(self.folder, card)
        self.run_ok("convert", model, "--output", self.path("back"), "--format", "gptq_v2")
        with open(self.path("back", "README.md"), encoding="utf-8") as file:
            converted = file.read()
        self.assertEqual(re.sub("> Converted by .*\n\n", "", converted), card)
        self.assertIn("---\n> Converted by gptq.cpp", converted)


    def card(self, model, *options):
        self.run_ok("quantize", model, "--output", self.path("out"), "--samples", 4, "--sequence-length", 64, "--overwrite", *options)
        with open(self.path("out", "README.md"), encoding="utf-8") as file:
            return file.read()

    def test_model_card_names_the_repository(self):
        named = self.path("named")
        shutil.copytree(STORIES, named)
        with open(os.path.join(named, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        for name, known in (("karpathy/tinyllamas", True), ("Stories", False), ("/home/me/stories", False), ("../stories", False)):
            with open(os.path.join(named, "config.json"), "w", encoding="utf-8") as file:
                json.dump(dict(config, _name_or_path=name), file)
            card = self.card(named, "--method", "rtn", "--group-size", 32)
            self.assertEqual("base_model: \"%s\"\nbase_model_relation: quantized" % name in card, known, card)
            self.assertEqual("base_model" in card, known, card)

    def test_model_card_of_gguf(self):
        source = os.path.join(DATA, "formats", "gguf", "tiny128-Q8_0.gguf")
        tokens = self.write("ids.safetensors", support.token_file([[i % 300 for i in range(64)]]))
        card = self.card(source, "--format", "compressed-tensors", "--calibration", tokens)
        for part in ("tags: [compressed-tensors, 4-bit, gptq.cpp]", "everything else is float16", "of `ids.safetensors`"):
            self.assertIn(part, card)
        self.assertNotIn("base_model", card)

    def test_model_card_of_chosen_bits(self):
        card = self.card(STORIES, "--target-bits", "4.6", "--group-sizes", "16,32", "--symmetric")
        with open(self.path("out", "config.json"), encoding="utf-8") as file:
            config = json.load(file)["quantization_config"]
        kinds = re.findall(r"(\d+) of (\d) bits in groups of (\d+)", card)
        self.assertGreater(len(kinds), 1, card)
        self.assertEqual(sum(int(count) for count, _, _ in kinds), 35)
        tags = sorted({bits for _, bits, _ in kinds})
        self.assertIn("tags: [gptq, %s, gptq.cpp]" % ", ".join(bits + "-bit" for bits in tags), card)
        self.assertIn("`--target-bits` | 4.6", card)
        for option in ("`--bits`", "`--group-size`"):
            self.assertNotIn(option, card)
        most = max(kinds, key=lambda kind: int(kind[0]))
        self.assertEqual([str(config["bits"]), str(config["group_size"])], list(most[1:]))


class SweepTest(support.CliTest):
    def sweep(self, *more, run=None):
        task = self.write("task.jsonl", TASK)
        return (run or self.run_json)("sweep", STORIES, "--output", self.path("sweep"), "--group-size", "32", "--samples", 4,
                                      "--calibration-length", 64, "--data", TEXT, "--windows", 1, "--sequence-length", 64,
                                      "--task", "choices=" + task, *more)

    def lines(self):
        with open(self.path("sweep", "results.jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_settings_are_measured_once(self):
        value = self.sweep("--bits", "4")
        names = ["as-it-is", "rtn-4bit-g32", "gptq-4bit-g32"]
        self.assertEqual([line["name"] for line in value["settings"]], names)
        first, rtn, gptq = value["settings"]
        self.assertEqual(first["texts"][0]["kl_mean"], 0)
        self.assertLess(0, gptq["texts"][0]["kl_mean"])
        self.assertLess(rtn["bytes"], first["bytes"])
        self.assertEqual(gptq["tasks"][0]["examples"], 3)
        self.assertAlmostEqual(gptq["bits_per_weight"], rtn["bits_per_weight"])
        self.assertEqual(self.lines(), value["settings"])
        with open(self.path("sweep", "report.html"), encoding="utf-8") as file:
            self.assertIn("KL divergence, wikitext2-test.txt", file.read())
        self.assertEqual(sorted(os.listdir(self.path("sweep"))),
                         ["gptq-4bit-g32.json", "report.html", "results.jsonl", "rtn-4bit-g32.json", "sweep.json"])
        self.assertEqual(self.sweep("--bits", "4")["settings"], value["settings"], "nothing is measured again")
        more = self.sweep("--bits", "3,4", "--method", "rtn", "--keep-models")["settings"]
        self.assertEqual([line["name"] for line in more], ["as-it-is", "rtn-3bit-g32", "rtn-4bit-g32"])
        self.assertEqual(more[2], rtn)
        alone = self.run_json("compare", STORIES, self.path("sweep", "rtn-3bit-g32"), "--data", TEXT, "--windows", 1, "--sequence-length", 64)
        self.assertEqual(alone["kl_mean"], more[1]["texts"][0]["kl_mean"])

    def test_report_takes_the_whole_folder(self):
        value = self.sweep("--bits", "4")
        folder = self.path("sweep")
        files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json")]
        page = self.path("page.html")
        self.assertEqual(self.run_json("report", *files, "--output", page)["results"], 2)
        printed = self.write("printed.json", json.dumps(value))
        self.assertEqual(self.run_json("report", printed, "--output", page)["results"], 3)
        settings = os.path.join(folder, "sweep.json")
        self.expect_error("report", settings, "--output", self.path("new.html"), says="results.jsonl", absent=self.path("new.html"))

    def test_table(self):
        text = self.sweep("--bits", "4", "--method", "rtn", run=self.run_ok).out
        self.assertTrue(text.startswith("| | bits per weight | MB | wikitext2-test perplexity | ratio | KL | choices |\n|---|"))
        self.assertEqual(len(text.splitlines()), 4)
        self.assertRegex(text, r"(?m)^\| rtn-4bit-g32 \| \d\.\d\d \| \d\.\d \|( \d+(\.\d+)? ± \d+(\.\d+)? \|){4}$")

    def test_sequences_are_not_cut_silently(self):
        command = ("sweep", STORIES, "--output", self.path("sweep"), "--method", "rtn", "--bits", 4, "--data", TEXT, "--windows", 1)
        for option in ("--sequence-length", "--calibration-length"):
            self.expect_error(*command, option, 513, says=["at most 512 tokens", option], absent=self.path("sweep"))
        run = self.run_ok(*command, "--json")
        self.assertEqual(run.json["settings"][1]["texts"][0]["sequence_length"], 512)
        self.assertIn("note: --sequence-length 512, as the model takes no more", run.err)

    def test_bad_input(self):
        def fails(*options, says):
            self.sweep(*options, run=lambda *a: self.expect_error(*a, says=says))
        self.write("sweep/notes.txt", "mine")
        fails("--bits", "4", says="something else")
        os.remove(self.path("sweep", "notes.txt"))
        self.sweep("--bits", "4", "--method", "rtn")
        fails("--bits", "4", "--asymmetric", says="'symmetric' differs")
        self.write("sweep/results.jsonl", "{}\n")
        fails("--bits", "4", says="line 1")
        self.expect_usage_error("sweep", STORIES, "--output", self.path("new"), "--task", "piqa", says="NAME=FILE")
        self.expect_usage_error("sweep", STORIES, "--output", self.path("new"), "--task", "no=x", says="no")
        self.expect_usage_error("sweep", STORIES, "--output", self.path("new"), "--data", TEXT, "--bits", "9", says="9")
        self.expect_nothing_at(self.path("new"))


if __name__ == "__main__":
    support.main()
