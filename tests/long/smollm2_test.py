"""SmolLM2-135M-Instruct: perplexity as torch measures it, the published program's quality from its settings, and the
memory that this takes. Runs with ./test long, which fetches the model (GPTQ_SMOLLM2 names the file)."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "tests", "data")
TEXT = os.path.join(DATA, "text", "wikitext2-test.txt")
PROGRAM = sys.argv.pop(1)
MODEL = os.environ.get("GPTQ_SMOLLM2", "")


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments, "--json", "--quiet"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def perplexity(model, windows):
    return run("evaluate", model, "--data", TEXT, "--windows", str(windows))["perplexity"]


class SmolLM2Test(unittest.TestCase):
    def test_perplexity_is_that_of_torch(self):
        self.assertLess(abs(perplexity(MODEL, 8) / 19.1351 - 1), 2e-4)

    def test_tokens_of_the_whole_text(self):
        self.assertEqual(run("tokenize", MODEL, "--file", TEXT)["count"], 304978)

    def test_quality_of_the_published_program(self):
        calibration = os.path.join(DATA, "smollm2", "calibration_c4_32x2048.safetensors")
        for bits, reference, slack in (("4", 28.8423, 1.02), ("3", 77.3662, 1.08)):
            with tempfile.TemporaryDirectory() as folder, self.subTest(bits=bits):
                output = os.path.join(folder, "out")
                report = run("quantize", MODEL, "--output", output, "--recipe", "reference", "--bits", bits,
                             "--group-size", "64", "--asymmetric", "--format", "gptq_v2", "--calibration", calibration)
                self.assertLess(report["peak_memory_bytes"], 1.5 * 2**30)
                self.assertLess(perplexity(output, 20), reference * slack)


if __name__ == "__main__":
    if os.environ.get("GPTQ_LONG_TESTS") != "1" or not os.path.exists(MODEL):
        print("skipped: SmolLM2 takes minutes; ./test long fetches it and runs this")
        sys.exit(77)
    unittest.main(verbosity=2)
