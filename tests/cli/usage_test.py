"""Wrong usage: exit code 2, one line that says what is wrong, nothing done."""

import support
from support import STORIES, TEXT


class UsageTest(support.CliTest):
    def quantize(self, *options, says=()):
        output = self.path("out")
        self.expect_usage_error("quantize", STORIES, "--output", output, "--samples", 1, "--sequence-length", 32, *options, says=says)
        self.expect_nothing_at(output)

    def test_command_line(self):
        self.expect_usage_error()
        self.expect_usage_error("quantise", STORIES, says=["unknown command 'quantise'", "quantize"])
        self.expect_usage_error("--quiet", "nonsense", says="unknown command 'nonsense'")
        self.expect_usage_error("--nonsense")
        self.expect_usage_error("", says="")
        for command in ("quantize", "evaluate", "generate", "logits", "solve", "tokenize", "detokenize", "inspect"):
            with self.subTest(command=command):
                self.expect_usage_error(command)
                self.expect_usage_error(command, STORIES, "--nonsense")
        self.expect_usage_error("quantize", STORIES, says="--output")
        self.expect_usage_error("evaluate", STORIES, says="--data")
        self.expect_usage_error("generate", STORIES, says="--prompt")
        self.expect_usage_error("logits", STORIES, "--output", self.path("x"), says="--tokens")
        self.expect_usage_error("solve", "x", says="--output")
        self.expect_usage_error("tokenize", STORIES, says="--text")
        self.expect_usage_error("tokenize", STORIES, "--text", "a", "--file", TEXT)
        self.expect_usage_error("detokenize", STORIES, says="--ids")
        self.expect_usage_error("inspect", STORIES, "extra", says="extra")
        self.expect_usage_error("inspect", STORIES, "--nonsense", says="--nonsense")

    def test_common_options(self):
        for option, value in (("--threads", "0"), ("--threads", "-1"), ("--threads", "many"), ("--threads", "1e9"),
                              ("--threads", "99999999999999999999"), ("--device", "tpu"), ("--json", "perhaps")):
            with self.subTest(option=option, value=value):
                self.expect_usage_error("inspect", STORIES, option + "=" + value, says=option)
        self.expect_usage_error("inspect", STORIES, "--threads")

    def test_solver_options(self):
        for option, value in (("--bits", "9"), ("--bits", "1"), ("--bits", "0"), ("--bits", "-4"), ("--bits", "4.5"),
                              ("--bits", "four"), ("--bits", ""), ("--bits", "1.58"), ("--group-size", "0"),
                              ("--group-size", "-2"), ("--group-size", "1.5"), ("--group-size", "x"),
                              ("--damping", "-1"), ("--damping", "nan"), ("--damping", "inf"), ("--damping", "x"),
                              ("--block-size", "0"), ("--block-size", "-1"), ("--order", "sideways"),
                              ("--group-grid", "new"), ("--clip", "hard"), ("--method", "awq"), ("--recipe", "soup"),
                              ("--scale-type", "int8"), ("--format", "zip")):
            with self.subTest(option=option, value=value):
                self.quantize(option + "=" + value, says=option)
                if option != "--format" and value != "1.58":
                    self.expect_usage_error("solve", "absent", "--output", self.path("out"), option + "=" + value, says=option)
        self.quantize("--symmetric", "--asymmetric")
        for format_name in ("gptq", "gptq_v2"):
            self.quantize("--bits", "1.58", "--format", format_name, says="--format")
            for bits in (5, 6, 7):
                self.quantize("--bits", bits, "--format", format_name)

    def test_quantize_options(self):
        for option, value in (("--samples", "0"), ("--samples", "-1"), ("--samples", "x"), ("--sequence-length", "0"),
                              ("--sequence-length", "-5"), ("--seed", "x"), ("--seed", "-1"), ("--bits-for", "q_proj"),
                              ("--bits-for", "q_proj=9"), ("--bits-for", "q_proj="), ("--bits-for", "q_proj=5"),
                              ("--bits-for", "(=4"), ("--bits-for", "nothing_like_it=4"), ("--bits-for", "q_proj=1.58"),
                              ("--skip", "nothing_like_it"), ("--skip", "("), ("--skip", "."), ("--skip", "(" * 100000)):
            with self.subTest(option=option, value=value[:30]):
                self.quantize(option + "=" + value, says=option)

    def test_target_bits_say_bits_and_groups(self):
        for options in (("--bits", 8), ("--group-size", 32)):
            for format_name in ("gptq", "gguf"):
                self.quantize("--target-bits", 4, "--format", format_name, *options, says=["--target-bits", options[0]])

    def test_options_of_another_task(self):
        for task, options in (("perplexity", ("--details=x", "--examples=1", "--task-file=x")),
                              ("piqa", ("--windows=1", "--stride=8", "--protocol=gptq", "--measure-rate")),
                              ("stereoset", ("--windows=1", "--details=x", "--task-file=x"))):
            for option in options:
                with self.subTest(task=task, option=option):
                    self.expect_usage_error("evaluate", STORIES, "--data", TEXT, "--task", task, option, says=[option.split("=")[0], "not with --task " + task])
        self.expect_nothing_at("x")

    def test_a_sweep_measures_something(self):
        out = self.path("sweep")
        self.expect_usage_error("sweep", STORIES, "--output", out, says=["--data", "--task"])
        self.expect_usage_error("sweep", STORIES, "--output", out, "--data", TEXT, "--examples", 1, says="--task")
        self.expect_usage_error("sweep", STORIES, "--output", out, "--task", "piqa=x", "--windows", 1, says="--data")
        self.expect_nothing_at(out)

    def test_evaluate_options(self):
        for option, value in (("--sequence-length", "1"), ("--sequence-length", "0"), ("--windows", "-1"),
                              ("--protocol", "mine"), ("--task", "poetry")):
            with self.subTest(option=option, value=value):
                self.expect_usage_error("evaluate", STORIES, "--data", TEXT, option + "=" + value, says=option)

    def test_generate_options(self):
        for option, value in (("--tokens", "0"), ("--tokens", "-1"), ("--temperature", "-1"), ("--temperature", "nan"),
                              ("--temperature", "inf"), ("--top-k", "-1"), ("--top-p", "1.5"), ("--top-p", "nan"),
                              ("--min-p", "-0.1"), ("--min-p", "nan"), ("--repeat-penalty", "0"),
                              ("--repeat-penalty", "nan"), ("--seed", "x")):
            with self.subTest(option=option, value=value):
                self.expect_usage_error("generate", STORIES, "--prompt", "a", option + "=" + value, says=option)

    def test_activation_bits(self):
        for command in (("evaluate", STORIES, "--data", TEXT), ("generate", STORIES, "--prompt", "a"), ("chat", STORIES),
                        ("logits", STORIES, "--tokens", "x", "--output", self.path("x")), ("benchmark", STORIES)):
            for value in ("0", "4", "9", "64", "-8", "8.5", "x", ""):
                with self.subTest(command=command[0], value=value):
                    self.expect_usage_error(*command, "--activation-bits=" + value, says="--activation-bits")
        self.expect_usage_error("compare", STORIES, STORIES, "--data", TEXT, "--activation-bits", "8", says="--activation-bits")

    def test_kv_bits(self):
        for command in (("generate", STORIES, "--prompt", "a"), ("chat", STORIES), ("benchmark", STORIES)):
            for value in ("0", "4", "32", "-8", "8.5", "x", ""):
                with self.subTest(command=command[0], value=value):
                    self.expect_usage_error(*command, "--kv-bits=" + value, says="--kv-bits")
        self.expect_usage_error("evaluate", STORIES, "--data", TEXT, "--kv-bits", "8", says="--kv-bits")
        self.expect_usage_error("benchmark", STORIES, "--context-tokens=-1", says="--context-tokens")
        self.expect_usage_error("benchmark", STORIES, "--batch=0", says="--batch")

    def test_detokenize_ids(self):
        for ids in ("", "a", "1,,2", "1;2", "1.5", "99999999999999"):
            with self.subTest(ids=ids):
                self.expect_usage_error("detokenize", STORIES, "--ids=" + ids, says="--ids")


if __name__ == "__main__":
    support.main()
