"""Runs that are killed, interrupted or run out of disk, wherever it happens: the same command goes on and writes the same bytes.

GPTQ_FAULT=KIND:N (src/io/fault.h) strikes the N-th point at which the disk changes. Every point is tried with GPTQ_LONG_TESTS=1,
otherwise some of them.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import support
from support import program, token_file

LONG = os.environ.get("GPTQ_LONG_TESTS") == "1"
STEP = 1 if LONG else 7


def is_sanitized():
    with open(program(), "rb") as file:
        return b"__asan_init" in file.read()  # its memory is no longer the program's own


class ResumeTest(support.CliTest):
    def setUp(self):
        super().setUp()
        self.model = support.write_model(self.path("model"))
        self.tokens = self.write("tokens.safetensors", token_file([[(i * 31 + j * 7) % 500 for j in range(32)] for i in range(6)]))
        self.output = self.path("out")
        self.partial = self.output + ".partial"

    def command(self, *options, output=None):
        groups = () if "--target-bits" in options else ("--group-size", 16)
        return ["quantize", self.model, "--output", output or self.output, "--calibration", self.tokens, *groups,
                "--sink-sequences", 9, "--threads", 1, *options]

    def run_with_fault(self, fault, *options):
        environment = dict(os.environ, GPTQ_FAULT=fault)
        command = [program(), *map(str, self.command(*options)), "--json", "--quiet"]
        return subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)

    def contents(self, folder=None):
        folder = folder or self.output
        found = {}
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
        return found

    def expected(self, *options):
        """What a run in one go writes."""
        output = self.path("whole")
        shutil.rmtree(output, ignore_errors=True)
        self.run_ok(*self.command(*options, output=output))
        return self.contents(output)

    def blocks_done(self):
        try:
            with open(os.path.join(self.partial, "journal.json"), encoding="utf-8") as file:
                return json.load(file)["blocks_done"]
        except FileNotFoundError:
            return 0

    def clear(self):
        for path in (self.output, self.partial, self.output + ".replaced"):
            shutil.rmtree(path, ignore_errors=True)

    def walk(self, kind, ends, *options, first=1):
        """Strikes point after point until a run has no more of them; after each, the same command must complete the output."""
        expected = self.expected(*options)
        point, resumed = first, set()
        while True:
            self.clear()
            result = self.run_with_fault("%s:%d" % (kind, point), *options)
            done = self.blocks_done()
            if result.returncode == 0:
                self.assertEqual(self.contents(), expected)
                if self.is_past_the_end(kind, point, *options):
                    break
            else:
                with self.subTest(kind=kind, point=point, done=done):
                    ends(result, done)
                    if os.path.exists(self.output):  # struck between the last rename and the end
                        self.assertEqual(self.contents(), expected)
                    else:
                        again = self.run_json(*self.command(*options))
                        self.assertEqual(again["resumed_blocks"], done)
                        self.assertEqual(len(again["layers"]), 14)
                        self.assertEqual(self.contents(), expected)
                        self.assertFalse(os.path.exists(self.partial))
                        resumed.add(done)
            point += STEP
            self.assertLess(point, 2000)
        self.assertGreater(point, 100, "the points were not met")
        self.assertEqual(resumed, {0, 1, 2})

    def is_past_the_end(self, kind, point, *options):
        """A struck folder that only cannot be synchronized is no failure: see whether a kill is met there."""
        self.clear()
        return self.run_with_fault("kill:%d" % point, *options).returncode == 0

    # Kills.

    def killed(self, result, _):
        self.assertEqual(result.returncode, -signal.SIGKILL)

    def test_kill_at_every_point(self):
        self.walk("kill", self.killed)

    def test_kill_at_every_point_while_activations_are_spilled(self):
        rows = [[(i * 31 + j * 7) % 500 for j in range(64)] for i in range(900)]
        self.tokens = self.write("tokens.safetensors", token_file(rows))
        least = self.run_json(*self.command("--dry-run"))["memory"]["least_bytes"]
        expected = self.expected()
        budget = ("--memory", least + 6_000_000)
        result = self.run_json(*self.command(*budget))
        self.assertGreater(result["memory"]["spilled_bytes"], 1_000_000)
        if not is_sanitized():
            self.assertLess(result["peak_memory_bytes"], budget[1])
        self.assertEqual(self.contents(), expected)
        random_source = random.Random(2)
        for point in [random_source.randrange(900, 6000) for _ in range(30 if LONG else 4)]:
            with self.subTest(point=point):
                self.clear()
                self.assertEqual(self.run_with_fault("kill:%d" % point, *budget).returncode, -signal.SIGKILL)
                done = self.blocks_done()
                # Another budget, or none: what lies where is of no importance.
                again = self.run_json(*self.command(*random_source.choice([(), budget])))
                self.assertEqual(again["resumed_blocks"], done)
                self.assertEqual(self.contents(), expected)

    def test_kills_while_two_streams_are_spilled(self):
        rows = [[(i * 31 + j * 7) % 500 for j in range(64)] for i in range(400)]
        self.tokens = self.write("tokens.safetensors", token_file(rows))
        options = ("--recipe", "best", "--token-weighting", "attention")
        least = self.run_json(*self.command(*options, "--dry-run"))["memory"]["least_bytes"]
        expected = self.expected(*options)
        options += ("--memory", least + 6_000_000)
        result = self.run_json(*self.command(*options))
        self.assertGreater(result["memory"]["spilled_bytes"], 1_000_000)
        self.assertEqual(self.contents(), expected)
        for point in (700, 2100) if not LONG else range(300, 4000, 300):
            with self.subTest(point=point):
                self.clear()
                self.assertEqual(self.run_with_fault("kill:%d" % point, *options).returncode, -signal.SIGKILL)
                self.run_json(*self.command(*options))
                self.assertEqual(self.contents(), expected)

    def test_kills_at_any_time(self):
        expected = self.expected()
        random_source = random.Random(1)
        for _ in range(10):
            self.clear()
            for _ in range(50):
                process = subprocess.Popen([program(), *map(str, self.command("--quiet"))], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                time.sleep(random_source.uniform(0.0, 0.25))
                process.kill()
                process.communicate(timeout=60)
                if os.path.exists(self.output):
                    break
            else:
                self.run_ok(*self.command())
            self.assertEqual(self.contents(), expected)

    def test_kill_while_replacing(self):
        self.run_ok(*self.command("--bits", 8))
        before = self.contents()
        expected = self.expected()
        for point in range(1, 400, STEP):
            result = self.run_with_fault("kill:%d" % point, "--overwrite")
            now = self.contents()
            self.assertIn(now, (before, expected), point)  # never half of it
            if now != before or result.returncode == 0:
                break
        self.run_ok(*self.command("--overwrite"))
        self.assertEqual(self.contents(), expected)
        self.assertFalse(os.path.exists(self.partial))

    # A full disk.

    def disk_is_full(self, result, done):
        self.assertEqual(result.returncode, 1, result.stderr)
        line = result.stderr.decode().splitlines()[-1]
        self.assertRegex(line, r"^gptq: error: .*No space left on device")
        if "the output is complete" in line:  # struck while what is no longer needed was deleted
            self.assertTrue(os.path.exists(self.output), line)
            return
        self.assertIn("free disk space", line)
        if os.path.exists(self.output):
            return
        self.assertEqual(os.path.exists(self.partial), done > 0, line)
        if done > 0:
            self.assertIn("the same command goes on after block %d of 2" % done, line)

    def test_full_disk_at_every_point(self):
        self.walk("full", self.disk_is_full, first=2)

    def test_a_small_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        mount = lambda *options: subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", disk], capture_output=True, check=False).returncode
        if os.geteuid() != 0 or not shutil.which("mount") or mount("-o", "size=1m") != 0:
            self.skipTest("a small disk cannot be mounted here")
        try:
            with open(os.path.join(self.model, "notes.txt"), "wb") as file:
                file.write(b"x" * 1_000_000)  # a side file: the only one for which no space is claimed before
            expected = self.expected()
            self.output = os.path.join(disk, "out")
            self.partial = self.output + ".partial"
            result = self.expect_error(*self.command(), says=["No space left", "the same command goes on after block 2 of 2"])
            self.assertEqual(self.blocks_done(), 2, str(result))
            self.assertEqual(mount("-o", "remount,size=4m"), 0)
            self.assertEqual(self.run_json(*self.command())["resumed_blocks"], 2)
            self.assertEqual(self.contents(), expected)
        finally:
            subprocess.run(["umount", disk], check=False)

    # Signals.

    def interrupted(self, result, done):
        self.assertEqual(result.returncode, 130, result.stderr)
        line = result.stderr.decode().splitlines()[-1]
        if done > 0:
            self.assertEqual(line, "gptq: interrupted: the same command goes on after block %d of 2" % done)
        else:
            self.assertEqual(line, "gptq: interrupted: nothing was written; the same command begins again")
            self.expect_nothing_at(self.output)

    def test_interrupted_at_every_point(self):
        for number, kind in enumerate(("interrupt", "terminate")):
            expected = self.expected()
            done_when_stopped = set()
            for point in range(1 + number, 150, 1 if LONG else 11):
                self.clear()
                result = self.run_with_fault("%s:%d" % (kind, point))
                if result.returncode == 0:  # too near to the end
                    self.assertEqual(self.contents(), expected)
                    continue
                done = self.blocks_done()
                done_when_stopped.add(done)
                self.interrupted(result, done)
                again = self.run_json(*self.command())
                self.assertEqual(again["resumed_blocks"], done)
                self.assertEqual(self.contents(), expected)
            self.assertLessEqual({0, 1}, done_when_stopped)

    # What goes on and what does not.

    def leave_unfinished(self, *options):
        self.clear()
        for point in range(60, 400, 3):
            self.assertNotEqual(self.run_with_fault("kill:%d" % point, *options).returncode, 0)
            if self.blocks_done() == 1:
                return
            self.clear()
        self.fail("no run ended after its first block")

    def test_other_settings_are_refused(self):
        self.leave_unfinished()
        other_tokens = self.write("other.safetensors", token_file([[5] * 32] * 6))
        other_model = shutil.copytree(self.model, self.path("other"))
        tensors = support.tiny_tensors()
        tensors["model.norm.weight"] = support.with_value(tensors["model.norm.weight"], 3, 1.01)
        support.write_model(other_model, tensors=tensors)
        changed_file = shutil.copytree(self.model, self.path("changed"))
        with open(os.path.join(changed_file, "tokenizer.model"), "ab") as file:
            file.write(b"\0")
        for command, says in ((self.command("--bits", 3), "--bits was 4 and is 3"),
                              (self.command("--skip", "q_proj"), "--skip was []"),
                              (self.command("--order", "natural", "--damping", "0.02"), "--damping was 0.01 and is 0.02; --order was group and is natural"),
                              (self.command("--method", "rtn"), "--method was gptq and is rtn"),
                              (self.command("--calibration", other_tokens), "the calibration differs"),
                              (self.command("--sink-sequences", 8), "the calibration differs"),
                              (["quantize", other_model, *self.command()[2:]], "the model's tensors differs"),
                              (["quantize", changed_file, *self.command()[2:]], "the model's tokenizer files differs")):
            if command.count("--calibration") == 2:
                del command[command.index("--calibration"):command.index("--calibration") + 2]
            if command.count("--sink-sequences") == 2:
                del command[command.index("--sink-sequences"):command.index("--sink-sequences") + 2]
            result = self.run_gptq(*command)
            self.assertEqual(result.code, 1, str(result))
            for word in (says, self.partial, "--restart"):
                self.assertIn(word, result.err.splitlines()[-1])
            self.assertEqual(self.blocks_done(), 1, "it was thrown away")
        # What does not change the result does not matter: threads, memory, where the model lies.
        moved = shutil.copytree(self.model, self.path("moved"))
        again = self.run_json("quantize", moved, *self.command("--memory", "1GiB")[2:-4], "--threads", 2, "--memory", "1GiB")
        self.assertEqual(again["resumed_blocks"], 1)
        self.assertEqual(self.contents(), self.expected())

    def test_resume_and_restart(self):
        self.expect_error(*self.command("--resume"), says=["no unfinished work", "out.partial"], absent=self.output)
        self.expect_usage_error(*self.command("--resume", "--restart"))
        expected = self.expected()
        self.leave_unfinished()
        result = self.run_json(*self.command("--resume"))
        self.assertEqual(result["resumed_blocks"], 1)
        self.assertEqual(self.contents(), expected)
        self.leave_unfinished()
        self.assertEqual(self.run_json(*self.command("--restart"))["resumed_blocks"], 0)
        self.assertEqual(self.contents(), expected)
        self.leave_unfinished("--bits", 8)
        self.assertEqual(self.run_json(*self.command("--restart"))["resumed_blocks"], 0)
        self.assertEqual(self.contents(), expected)

    def test_reports_are_whole(self):
        self.leave_unfinished()
        resumed = self.run_json(*self.command())
        self.clear()
        whole = self.run_json(*self.command())
        strip = lambda layers: [{key: value for key, value in layer.items() if key != "seconds"} for layer in layers]
        self.assertEqual(strip(resumed["layers"]), strip(whole["layers"]))
        for key in ("bits_per_weight", "calibration", "forward_flops", "hessian_flops"):
            self.assertEqual(resumed[key], whole[key])
        self.assertEqual(set(resumed["stages"]), set(whole["stages"]))
        self.assertEqual(resumed["self_check"], whole["self_check"])
        self.assertEqual(whole["self_check"]["tokens"], 32)
        self.assertLess(whole["self_check"]["relative_error"], 1e-3)

    def test_damage_is_found(self):
        for name, says in (("journal.json", "journal"), ("boundary.0", "boundary"), ("boundary.1", "boundary"), ("checkpoint/model.safetensors", "model.safetensors")):
            with self.subTest(name=name):
                self.leave_unfinished()
                path = os.path.join(self.partial, name)
                with open(os.path.join(self.partial, "journal.json"), encoding="utf-8") as file:
                    side = json.load(file)["boundary"]["side"]
                with open(path, "r+b") as file:
                    file.seek(20)
                    file.write(b"\x81\x42")
                result = self.run_gptq(*self.command())
                if name == "boundary.%d" % (1 - side):  # the one that will be written next
                    self.assertEqual(result.code, 0, str(result))
                    continue
                self.assertEqual(result.code, 1, str(result))
                for word in (says, "--restart"):
                    self.assertIn(word, result.err.splitlines()[-1])
                self.assertEqual(self.run_json(*self.command("--restart"))["resumed_blocks"], 0)

    def test_round_to_nearest_goes_on_too(self):
        self.walk("kill", self.killed, "--method", "rtn")

    def test_measured_bits_are_not_measured_again(self):
        options = ("--target-bits", "5.5", "--group-sizes", "16,32")
        expected = self.expected(*options)
        for kind, code in (("kill", -signal.SIGKILL), ("interrupt", 130)):
            self.clear()
            self.assertEqual(self.run_with_fault(kind + ":40", *options).returncode, code)
            self.assertEqual(self.blocks_done(), 0)
            result = self.run_ok(*self.command(*options))
            self.assertNotIn("measure sensitivities", result.err)
            self.assertEqual(self.contents(), expected)
        self.clear()
        self.assertEqual(self.run_with_fault("kill:40", *options).returncode, -signal.SIGKILL)
        self.expect_error(*self.command("--target-bits", "6.5", "--group-sizes", "16,32"), says="--target-bits was 5.5 and is 6.5")
        self.assertIn("measure sensitivities", self.run_ok(*self.command(*options, "--restart")).err)

    # The plan.

    def test_dry_run(self):
        plan = self.run_json(*self.command("--dry-run", "--bits-for", "down_proj=8", "--skip", "q_proj"))
        self.expect_nothing_at(self.output)
        done = self.run_json(*self.command("--bits-for", "down_proj=8", "--skip", "q_proj"))
        for key in ("name", "rows", "columns", "bits", "group_size"):
            self.assertEqual([layer[key] for layer in plan["layers"]], [layer[key] for layer in done["layers"]])
        for key in ("calibration", "bits_per_weight"):
            self.assertEqual(plan[key], done[key])
        size = sum(len(content) for name, content in self.contents().items() if name.endswith(".safetensors"))
        self.assertAlmostEqual(plan["disk"]["output_bytes"] / size, 1, delta=0.1)
        text = self.run_ok(*self.command("--dry-run")).out
        for word in ("14 linears", "4 bits", "groups of 16", "memory:", "disk:", "time:"):
            self.assertIn(word, text)
        planned, least = plan["memory"]["planned_bytes"], plan["memory"]["least_bytes"]
        self.assertGreaterEqual(planned, least)
        enough = re.search(r"at least (\d+) MB are needed", text).group(1)
        self.run_ok(*self.command("--dry-run", "--memory", enough + "M"))

    def test_budgets(self):
        for size in ("2", "1K", "5M", "0.005G"):
            result = self.expect_usage_error(*self.command("--memory", size), says=["--memory", "at least"])
            self.assertRegex(result.err, r"at least \d+M")
            self.expect_nothing_at(self.output)
        for size in ("", "M", "much", "-1G", "1X", "1GG", "nan", "1e99", "0"):
            self.expect_usage_error(*self.command("--memory=" + size), says="--memory")
        for size in ("900M", "900MB", "1GiB", "1.5g", "1000000000"):
            self.clear()
            self.run_ok(*self.command("--memory", size))
        least = self.run_json(*self.command("--dry-run"))["memory"]["least_bytes"]
        self.clear()
        done = self.run_json(*self.command("--memory", least + 3_000_000))
        if not is_sanitized():
            self.assertLess(done["peak_memory_bytes"], least + 3_000_000)


if __name__ == "__main__":
    support.main()
