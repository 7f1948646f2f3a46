"""Hessians of every evil kind: the run ends well, says what it did, and never writes what is not finite."""

import json
import math
import random

import support


class Robustness(support.CliTest):
    columns, rows = 24, 6

    def hessian(self, tokens=100, seed=1):
        numbers = random.Random(seed)
        n = self.columns
        sums = [[0.0] * n for _ in range(n)]
        for _ in range(tokens):
            common = numbers.gauss(0, 1)
            x = [numbers.gauss(0, 1) + 0.5 * common for _ in range(n)]
            for i in range(n):
                for j in range(n):
                    sums[i][j] += 2 * x[i] * x[j] / tokens
        return sums

    def write_problem(self, weight, hessian):
        n = self.columns
        flat = [x for row in hessian for x in row]
        return self.write("in.safetensors", support.safetensors({
            "weight": ("F32", [len(weight) // n, n], support.floats(weight)),
            "hessian": ("F32", [n, n], support.floats(flat)),
        }))

    def solve(self, hessian, *options):
        numbers = random.Random(7)
        weight = [numbers.gauss(0, 1) for _ in range(self.rows * self.columns)]
        source, target = self.write_problem(weight, hessian), self.path("out.safetensors")
        result = self.run_ok("solve", source, "--output", target, "--overwrite", "--bits", "3", "--group-size", "8",
                             "--json", *options)
        for name, values in support.read_floats(target).items():
            self.assertTrue(all(math.isfinite(v) for v in values), name)
        report = result.json
        for key in ("loss", "relative_error", "damping"):
            self.assertTrue(math.isfinite(report[key]), str(result))
        return report, result.err

    def test_plain(self):
        report, words = self.solve(self.hessian())
        self.assertEqual(report["damping"], 0.01)
        self.assertNotIn("warning", words)

    def test_singular_without_damping(self):
        report, words = self.solve(self.hessian(tokens=3), "--damping", "0")
        self.assertGreater(report["damping"], 0)
        self.assertIn("damping was raised", words)

    def test_fewer_tokens_than_columns(self):
        report, words = self.solve(self.hessian(tokens=3))
        self.assertEqual(report["damping"], 0.01)
        self.assertNotIn("warning", words)

    def test_duplicate_inputs(self):
        h = self.hessian()
        for row in h:
            row[3] = row[2]
        h[3] = list(h[2])
        report, _ = self.solve(h)
        self.assertEqual(report["damping"], 0.01)

    def test_dead_inputs(self):
        h = self.hessian()
        for i in range(self.columns):
            h[i][5] = h[5][i] = 0.0
        _, words = self.solve(h)
        self.assertNotIn("warning", words)

    def test_all_inputs_dead(self):
        self.solve([[0.0] * self.columns for _ in range(self.columns)])

    def test_huge_and_tiny(self):
        for factor in (1e35, 1e-35):
            report, words = self.solve([[x * factor for x in row] for row in self.hessian()])
            self.assertEqual(report["damping"], 0.01, words)

    def test_one_channel_a_million_times_louder(self):
        h = self.hessian()
        for i in range(self.columns):
            h[i][9] *= 1e6
            h[9][i] *= 1e6
        report, _ = self.solve(h)
        self.assertEqual(report["damping"], 0.01)

    def test_indefinite(self):
        h = self.hessian()
        h[1][2] = h[2][1] = 1.3 * math.sqrt(h[1][1] * h[2][2])
        report, words = self.solve(h)
        self.assertGreater(report["damping"], 0.01)
        self.assertIn("damping was raised", words)

    def test_indefinite_beyond_damping(self):
        h = self.hessian()
        h[1][2] = h[2][1] = 1e20
        _, words = self.solve(h)
        self.assertIn("diagonal entries were raised", words)

    def test_nan_and_infinity(self):
        for value in (math.nan, math.inf, -math.inf):
            h = self.hessian()
            h[4][4] = value
            h[4][7] = h[7][4] = value
            _, words = self.solve(h)
            self.assertIn("rounded to nearest", words)

    def test_nothing_but_nan(self):
        _, words = self.solve([[math.nan] * self.columns for _ in range(self.columns)])
        self.assertIn("%d inputs were cut loose" % self.columns, words)

    def test_negative_diagonal_is_an_error(self):
        h = self.hessian()
        h[4][4] = -1.0
        source = self.write_problem([1.0] * self.columns, h)
        self.expect_error("solve", source, "--output", self.path("out"), says="negative", absent=self.path("out"))


if __name__ == "__main__":
    support.main()
