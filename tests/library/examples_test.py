"""The examples do what they say: examples_test.py QUANTIZE_MATRIX QUANTIZE_MODEL"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STORIES = os.path.join(ROOT, "models", "stories260K")
MATRIX, MODEL = sys.argv[1:3]


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


class ExamplesTest(unittest.TestCase):
    def test_matrix(self):
        result = run(MATRIX)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = re.findall(r"^(rtn|gptq): relative error of the outputs (\S+), 4 groups, first code [0-7]$", result.stdout, re.M)
        self.assertEqual([method for method, _ in lines], ["rtn", "gptq"], result.stdout)
        nearest, solved = (float(error) for _, error in lines)
        self.assertLess(0, solved)
        self.assertLess(solved, 0.7 * nearest)

    def test_model(self):
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "out")
            result = run(MODEL, STORIES, output, 4)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertRegex(result.stdout, r"^35 linears, 4\.\d\d bits per weight\n$")
            self.assertIn("quantize 5/5", result.stderr)
            self.assertLessEqual({"config.json", "model.safetensors"}, set(os.listdir(output)))
            again = run(MODEL, STORIES, output, 4)
            self.assertEqual(again.returncode, 1)
            self.assertIn(output, again.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
