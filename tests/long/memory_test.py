"""Quantizing within a memory budget: a Llama of 1.1 billion weights in 2 GB, SmolLM2 in 600 MB with the same bytes as without, and the
plan's memory beside what was taken. Runs with ./test long."""

import filecmp
import json
import os
import subprocess
import sys
import tempfile
import unittest

import random_llama

PROGRAM = sys.argv.pop(1)
MODEL = os.environ.get("GPTQ_SMOLLM2", "")


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments), "--json", "--quiet"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class MemoryTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def test_a_billion_weights_in_two_gigabytes(self):
        model = random_llama.write_model(self.path("model"))
        tokens = random_llama.write_tokens(self.path("tokens.safetensors"), 48, 1024, 32000)
        options = ("quantize", model, "--output", self.path("out"), "--calibration", tokens, "--memory", "2G",
                   "--clip", "none", "--refits", 0)  # what takes time, not memory
        plan = run(*options, "--dry-run")
        done = run(*options)
        self.assertLess(done["peak_memory_bytes"], 2e9)
        self.assertGreater(done["memory"]["spilled_bytes"], 0)
        self.assertLess(abs(plan["memory"]["planned_bytes"] / done["peak_memory_bytes"] - 1), 0.25)
        self.assertLess(done["self_check"]["relative_error"], 1e-3)

    def test_smollm2_in_600_megabytes(self):
        if not os.path.exists(MODEL):
            self.skipTest("SmolLM2 is missing")
        options = ("--samples", 32)
        budget = run("quantize", MODEL, "--output", self.path("budget"), *options, "--memory", "600M")
        self.assertLess(budget["peak_memory_bytes"], 600e6)
        self.assertGreater(budget["memory"]["spilled_bytes"], 0)
        whole = run("quantize", MODEL, "--output", self.path("whole"), *options)
        self.assertEqual(whole["memory"]["spilled_bytes"], 0)
        self.assertLess(abs(whole["memory"]["planned_bytes"] / whole["peak_memory_bytes"] - 1), 0.25)
        names = sorted(os.listdir(self.path("whole")))
        self.assertEqual(filecmp.cmpfiles(self.path("whole"), self.path("budget"), names, shallow=False)[0], names)


if __name__ == "__main__":
    if os.environ.get("GPTQ_LONG_TESTS") != "1":
        print("skipped: large models take minutes; ./test long runs this")
        sys.exit(77)
    unittest.main(verbosity=2)
