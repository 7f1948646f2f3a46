"""`gptq generate` on the bundled model."""

import os

import support
from support import STORIES

# llama2.c's published greedy sample of this model.
PUBLISHED = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, "
             "red ball. She wanted to play with it, but it was too high.")


class GenerateTest(support.CliTest):
    def generate(self, *options, model=STORIES):
        return self.run_json("generate", model, "--prompt", "Once upon a time", *options)

    def test_published_sample(self):
        result = self.run_ok("generate", STORIES, "--temperature", 0, "--prompt", "Once upon a time")
        self.assertTrue(result.out.startswith(PUBLISHED), result.out)
        self.assertTrue(("Once upon a time" + self.generate("--temperature", 0)["text"]).startswith(PUBLISHED))
        for threads in (1, 3):
            self.assertEqual(self.run_ok("generate", STORIES, "--temperature", 0, "--prompt", "Once upon a time", "--threads", threads).out, result.out)

    def test_seeds(self):
        first, again, other = self.generate("--seed", 5), self.generate("--seed", 5), self.generate("--seed", 6)
        self.assertEqual(first["ids"], again["ids"])
        self.assertEqual(first["text"], again["text"])
        self.assertNotEqual(first["ids"], other["ids"])

    def test_length(self):
        for tokens in (1, 2, 17):
            self.assertEqual(len(self.generate("--tokens", tokens)["ids"]), tokens)
        value = self.generate("--tokens", 100000, "--temperature", 0)
        self.assertLessEqual(value["prompt_tokens"] + len(value["ids"]), 512)

    def test_a_full_context_is_said(self):
        command = ("generate", STORIES, "--prompt", "Once upon a time", "--temperature", 100, "--seed", 1)
        long = self.run_ok(*command, "--tokens", 100000)
        self.assertIn("note: the text ends because the model takes at most 512 tokens", long.err)
        self.assertNotIn("the text ends", self.run_ok(*command, "--tokens", 10).err)
        prompts = self.write("prompts.txt", "Once upon a time\nLily\n")
        many = self.run_ok("generate", STORIES, "--prompt-file", prompts, "--temperature", 100, "--seed", 1, "--tokens", 100000)
        self.assertIn("2 of the texts end because the model takes at most 512 tokens", many.err)

    def test_sampling_options(self):
        greedy = self.generate("--temperature", 0, "--tokens", 24)["ids"]
        for options in (("--top-k", 1), ("--top-p", 0), ("--min-p", 1), ("--temperature", "1e-9")):
            with self.subTest(options=options):
                self.assertEqual(self.generate("--seed", 3, "--tokens", 24, *options)["ids"], greedy)
        for options in (("--top-k", 40), ("--top-p", 0.9), ("--min-p", 0.05), ("--repeat-penalty", 1.3), ("--temperature", 100),
                        ("--repeat-penalty", 0.5), ("--top-k", 100000), ("--top-p", 1), ("--min-p", 0),
                        ("--top-k", 40, "--top-p", 0.9, "--min-p", 0.05, "--repeat-penalty", 1.1, "--temperature", 1.2)):
            with self.subTest(options=options):
                value = self.generate("--seed", 3, "--tokens", 24, *options)
                self.assertTrue(0 < len(value["ids"]) <= 24)
                self.assertEqual(value["ids"], self.generate("--seed", 3, "--tokens", 24, *options)["ids"])
        penalized = self.generate("--temperature", 0, "--tokens", 100, "--repeat-penalty", 100)["ids"]
        self.assertGreater(len(set(penalized)) / len(penalized), 0.9)

    def test_quantized(self):
        output = self.path("out")
        self.run_ok("quantize", STORIES, "--output", output, "--bits", 8, "--group-size", 32, "--samples", 4)
        self.assertTrue(("Once upon a time" + self.generate("--temperature", 0, model=output)["text"]).startswith(PUBLISHED[:60]))

    def test_models_without_a_next_token(self):
        architecture = self.write("both_ways.json", '{"name": "both_ways", "extends": "llama", "model_types": ["llama"], "fields": {"causal": false}}')
        text = self.write("text.txt", "Once upon a time there was a little girl. " * 100)
        tokens = self.write("tokens.safetensors", support.token_file([[1, 2, 3, 4]]))
        for command in (("generate", STORIES, "--prompt", "Once", "--tokens", 4),
                        ("evaluate", STORIES, "--data", text, "--sequence-length", 64)):
            with self.subTest(command=command[0]):
                self.expect_error(*command, "--architecture", architecture, says="no next token")
        self.run_ok("logits", STORIES, "--tokens", tokens, "--output", self.path("logits.safetensors"), "--architecture", architecture)

    def test_stops(self):
        text = self.generate("--temperature", 0)["text"]
        result = self.generate("--temperature", 0, "--stop", "never", "--stop", "play outside")
        self.assertEqual(result["text"], text[: text.index("play outside")])
        self.assertLess(len(result["ids"]), 128)
        shown = self.run_ok("generate", STORIES, "--temperature", 0, "--prompt", "Once upon a time", "--stop", "play outside").out
        self.assertEqual(shown, "Once upon a time" + result["text"] + "\n")
        self.assertEqual(self.generate("--temperature", 0, "--stop", "never")["text"], text)
        self.expect_usage_error("generate", STORIES, "--prompt", "Once", "--stop", "")

    def test_many_prompts(self):
        """Each is continued as it is alone, whatever stands beside it; printed in their order."""
        prompts = ["Once upon a time", "Tom and his dog", "It was", "The"]
        options = ("--tokens", 24, "--seed", 7, "--stop", "\n")
        file = self.write("prompts.txt", "\n".join(prompts[:2]) + "\n\n" + "\n".join(prompts[2:]))
        rows = self.write("prompts.jsonl", "".join('{"prompt": "%s"}\n' % prompt for prompt in prompts))
        alone = [self.run_json("generate", STORIES, "--prompt", prompt, *options) for prompt in prompts]
        for source, batch in ((file, 1), (file, 3), (rows, 8)):
            with self.subTest(source=source, batch=batch):
                value = self.run_json("generate", STORIES, "--prompt-file", source, "--batch", batch, *options)
                self.assertEqual(value["batch"], batch)
                for one, of_many, prompt in zip(alone, value["continuations"], prompts, strict=True):
                    self.assertEqual(of_many, {"prompt": prompt, **{key: one[key] for key in ("text", "ids", "prompt_tokens")}})
                self.assertLessEqual({"prefill_tokens_per_second", "decode_tokens_per_second", "kv_bits"}, set(value))
        shown = self.run_ok("generate", STORIES, "--prompt-file", file, *options).out
        self.assertEqual(shown, "".join(prompt + one["text"] + "\n" for prompt, one in zip(prompts, alone)))

    def test_prompt_files_of_all_kinds(self):
        for arguments in (("--prompt", "a", "--prompt-file", "x"), ("--prompt", "a", "--batch", 2), ("--batch", 2),
                          ("--prompt-file", "x", "--batch", 0), ("--prompt-file", "x", "--batch", "many")):
            with self.subTest(arguments=arguments):
                self.expect_usage_error("generate", STORIES, *arguments)
        self.expect_error("generate", STORIES, "--prompt-file", self.path("absent.txt"), says="absent.txt")
        self.expect_error("generate", STORIES, "--prompt-file", self.write("empty.txt", "\n"), says="no prompt")
        self.expect_error("generate", STORIES, "--prompt-file", self.write("rows.jsonl", '{"text": "a"}\n'), says=["rows.jsonl, line 1", "'prompt'"])
        long = self.write("long.txt", "Once\n" + "Once upon a time " * 300)
        self.expect_error("generate", STORIES, "--prompt-file", long, says=["at most 512 fit", "long.txt, line 2"])

    def test_prompts_that_do_not_fit(self):
        self.expect_error("generate", STORIES, "--prompt", "Once upon a time " * 300, says="at most 512 fit")

    def test_prompts_of_all_kinds(self):
        for prompt in ("", " ", "\n", "\u00fc\u4e2d\U0001f600", "a" * 300, "\x01"):
            with self.subTest(prompt=prompt[:10]):
                self.run_ok("generate", STORIES, "--prompt", prompt, "--tokens", 4)


if __name__ == "__main__":
    support.main()
