"""gptq compare: two models on one text."""

import os

import support
from support import STORIES, TEXT, TINY_CONFIG, tiny_tensors, with_value, write_model

KEYS = {"kl_mean", "kl_p99", "kl_p999", "top5_agreement", "worst_tokens", "blocks", "kl_median", "kl_standard_error", "top1_agreement", "perplexity_a", "perplexity_b", "perplexity_ratio",
        "perplexity_ratio_standard_error", "perplexity_a_standard_error", "perplexity_b_standard_error", "tokens", "windows", "sequence_length", "command", "version", "seconds", "peak_memory_bytes"}
STORY_TEXT = os.path.join(support.ROOT, "data", "tinystories", "evaluation.txt")
SIZE = ("--data", TEXT, "--windows", 2, "--sequence-length", 100)


class CompareTest(support.CliTest):
    def quantize(self, bits):
        output = self.path("bits%d" % bits)
        self.run_ok("quantize", STORIES, "--output", output, "--bits", bits, "--method", "rtn")
        return output

    def test_fewer_bits_are_farther(self):
        four, three = (self.run_json("compare", STORIES, self.quantize(bits), *SIZE) for bits in (4, 3))
        self.assertLessEqual(KEYS, set(four))
        self.assertEqual((four["command"], four["tokens"], four["windows"], four["sequence_length"]), ("compare", 198, 2, 100))
        self.assertLess(0, four["kl_mean"])
        self.assertLess(four["kl_mean"], three["kl_mean"])
        self.assertLess(four["kl_median"], four["kl_p99"])
        self.assertLess(three["top1_agreement"], four["top1_agreement"])
        self.assertLess(four["top1_agreement"], 1)
        self.assertEqual(four["perplexity_a"], three["perplexity_a"])
        self.assertAlmostEqual(four["perplexity_ratio"], four["perplexity_b"] / four["perplexity_a"], 9)

    def test_a_model_with_itself(self):
        value = self.run_json("compare", STORIES, STORIES, *SIZE)
        self.assertEqual((value["kl_mean"], value["kl_p99"], value["top1_agreement"]), (0, 0, 1))
        self.assertEqual(value["perplexity_a"], value["perplexity_b"])
        alone = self.run_json("evaluate", STORIES, *SIZE)["perplexity"]
        self.assertAlmostEqual(value["perplexity_a"], alone, 9)
        text = self.run_ok("compare", STORIES, STORIES, *SIZE).out
        for word in ("KL divergence", "perplexity of A", "100.000 %", "198 tokens"):
            self.assertIn(word, text)

    def test_through_gguf(self):
        output = self.path("f16.gguf")
        self.run_ok("convert", STORIES, "--output", output, "--format", "gguf", "--type", "f16")
        value = self.run_json("compare", STORIES, output, "--data", STORY_TEXT, *SIZE[2:])
        self.assertLessEqual(value["kl_mean"], 1e-6)
        self.assertEqual(len(value["blocks"]), 5)

    def test_worst_tokens(self):
        three = self.quantize(3)
        value = self.run_json("compare", STORIES, three, *SIZE, "--worst-tokens", 3)
        self.assertEqual(len(value["worst_tokens"]), 3)
        self.assertLessEqual(value["kl_p99"], value["worst_tokens"][0]["kl"])
        self.assertEqual(set(value["worst_tokens"][0]), {"window", "position", "context", "token", "kl", "probability_a", "probability_b",
                                                         "top_a", "top_probability_a", "top_b", "top_probability_b"})
        self.assertTrue(all(0 < block["relative_error"] < 1 for block in value["blocks"]))
        text = self.run_ok("compare", STORIES, three, *SIZE, "--worst-tokens", 3).out
        for word in ("tokens that differ most", "A says", "relative error of the blocks"):
            self.assertIn(word, text)

    def test_reference_cache(self):
        cache = self.path("reference")
        values = [self.run_json("compare", STORIES, self.quantize(bits), *SIZE, "--reference-cache", cache) for bits in (4, 3)]
        self.assertEqual([value["reference_from_cache"] for value in values], [False, True])
        again = self.run_ok("compare", STORIES, STORIES, *SIZE, "--reference-cache", cache)
        self.assertIn(cache, again.err)
        self.expect_error("compare", STORIES, STORIES, *SIZE, "--reference-cache", TEXT, says=TEXT)
        self.assertGreater(os.path.getsize(TEXT), 1000)

    def test_bad_input(self):
        good = write_model(self.path("good"))
        options = ("--data", TEXT, "--windows", 1)
        self.expect_error("compare", good, self.path("none"), *options, says="none")
        other = write_model(self.path("other"), config=dict(TINY_CONFIG, vocab_size=500), tensors=tiny_tensors(vocabulary=500))
        self.expect_error("compare", good, other, *options, says=("500", "512", "good", "other"))
        tensors = tiny_tensors()
        name = "model.layers.1.mlp.down_proj.weight"
        tensors[name] = with_value(tensors[name], 5, float("nan"))
        broken = write_model(self.path("broken"), tensors=tensors)
        cache = self.path("cache")
        self.expect_error("compare", good, broken, *options, "--reference-cache", cache, says=("not finite", "broken"), absent=cache)
        self.expect_error("compare", broken, good, *options, "--reference-cache", cache, says=("not finite", "broken"), absent=cache)
        self.expect_error("compare", good, good, "--data", self.write("short.txt", "a"), says="short.txt")
        self.expect_error("compare", good, write_model(self.path("mute"), tokenizer=False), *options, says="mute")

    def test_usage(self):
        self.expect_usage_error("compare", STORIES, "--data", TEXT, says="B")
        self.expect_usage_error("compare", STORIES, STORIES, says="--data")
        self.expect_usage_error("compare", STORIES, STORIES, "--data", TEXT, "--sequence-length", 1, says="--sequence-length")
        self.expect_usage_error("compare", STORIES, STORIES, "--data", TEXT, "--windows", -1, says="--windows")


if __name__ == "__main__":
    support.main()
