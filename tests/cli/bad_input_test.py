"""Inputs beside the model that are wrong, and machines that refuse: exit code 1, one clear line, nothing written."""

import os
import resource
import shutil
import signal
import subprocess
import time

import support
from support import DATA, STORIES, TEXT, WHOLE_TEXT, int32s, program, safetensors, token_file, write_model

SOLVE_INPUT = os.path.join(DATA, "gptq", "b4_row_sym.safetensors")


class BadInputTest(support.CliTest):
    def quantize(self, *options, model=STORIES, output=None):
        return ("quantize", model, "--output", output or self.path("out"), "--samples", 2, "--sequence-length", 64, *options)

    def refused(self, *options, says=(), **parts):
        self.expect_error(*self.quantize(*options, **parts), says=says, absent=self.path("out"))

    # Calibration.

    def test_calibration_files(self):
        for name, content in (("empty.txt", ""), ("blank.txt", "\n"), ("short.txt", "Once upon a time."), ("empty.jsonl", ""),
                              ("blank.jsonl", "\n\n  \n"), ("short.jsonl", '{"text": "Once upon a time."}\n'), ("empty.safetensors", b""),
                              ("empty_text.jsonl", '{"text": ""}\n')):
            with self.subTest(name=name):
                self.refused("--calibration", self.write(name, content), says=name)
        for name in ("absent.txt", "absent.jsonl", "absent.safetensors"):
            self.refused("--calibration", self.path(name), says=name)
        os.mkdir(self.path("folder.txt"))
        self.refused("--calibration", self.path("folder.txt"), says="folder.txt")

    def test_lines_of_jsonl(self):
        good = '{"text": "%s"}\n' % ("Once upon a time there was a dog. " * 50)
        for bad in ("{", "[]", "3", "null", '"text"', '{"txt": "a"}', '{"text": 3}', '{"text": null}', "text", '{"text": "\xff'.encode("latin-1"), "[" * 100000):
            content = good.encode() + (bad if isinstance(bad, bytes) else bad.encode()) + b"\n" + good.encode()
            with self.subTest(line=bad[:30]):
                self.refused("--calibration", self.write("lines.jsonl", content), says=["lines.jsonl", "line 2"])
        self.refused("--calibration", self.write("third.jsonl", good + "\n" + "{\n"), says="line 3")

    def test_calibration_sequences_are_not_cut_silently(self):
        command = ("quantize", STORIES, "--output", self.path("out"), "--samples", 1)
        self.expect_error(*command, "--sequence-length", 513, says=["at most 512 tokens", "--sequence-length"], absent=self.path("out"))
        plan = self.run_ok(*command, "--dry-run", "--json")
        self.assertEqual(plan.json["calibration"]["sequence_length"], 512)
        self.assertIn("note: --sequence-length 512, as the model takes no more", plan.err)
        written = self.run_ok(*command, "--sequence-length", 64, "--json")
        self.assertEqual(written.json["calibration"]["sequence_length"], 64)
        self.assertNotIn("takes no more", written.err)

    def test_calibration_of_an_unknown_kind(self):
        for name in ("text.csv", "text", "text.parquet", "text.TXTX", "text.json"):
            with self.subTest(name=name):
                self.refused("--calibration", self.write(name, "Once upon a time " * 1000), says=[name, ".jsonl"])

    def test_calibration_tokens(self):
        row = [1, 2, 3, 4]
        for name, content in (("negative", token_file([[1, -1, 2]])), ("outside", token_file([[1, 512]])), ("huge", token_file([[2**31 - 1]])),
                              ("long", token_file([[1] * 513])), ("names", safetensors({"ids": ("I32", [1, 4], int32s(row))})),
                              ("flat", safetensors({"input_ids": ("I32", [4], int32s(row))})),
                              ("deep", safetensors({"input_ids": ("I32", [1, 2, 2], int32s(row))})),
                              ("none", safetensors({"input_ids": ("I32", [0, 4], b"")})),
                              ("type", safetensors({"input_ids": ("F32", [1, 4], int32s(row))})),
                              ("long type", safetensors({"input_ids": ("I64", [1, 2], int32s(row))}))):
            path = self.write("tokens.safetensors", content)
            with self.subTest(name=name):
                self.refused("--calibration", path, says="tokens.safetensors")

    # Tokens for logits, matrices for solve, texts for evaluate, prompts.

    def test_tokens_for_logits(self):
        output = self.path("logits.safetensors")
        row = [1, 2, 3, 4]
        for name, content in (("empty", b""), ("names", safetensors({"ids": ("I32", [1, 4], int32s(row))})),
                              ("flat", safetensors({"input_ids": ("I32", [4], int32s(row))})),
                              ("none", safetensors({"input_ids": ("I32", [1, 0], b"")})),
                              ("type", safetensors({"input_ids": ("F32", [1, 4], int32s(row))})),
                              ("long type", safetensors({"input_ids": ("I64", [1, 2], int32s(row))})),
                              ("too long", token_file([[1] * 513])), ("outside", token_file([[512]])), ("negative", token_file([[-1]]))):
            tokens = self.write("tokens.safetensors", content)
            with self.subTest(name=name):
                says = [] if name in ("outside", "negative") else "tokens.safetensors"
                self.expect_error("logits", STORIES, "--tokens", tokens, "--output", output, says=says, absent=output)
        self.expect_error("logits", STORIES, "--tokens", self.path("absent"), "--output", output, says="absent", absent=output)
        self.run_ok("logits", STORIES, "--tokens", self.write("good.safetensors", token_file([[1] * 512])), "--output", output)

    def test_matrices_for_solve(self):
        output = self.path("solved.safetensors")
        matrix = lambda rows, columns, value=0.5: ("F32", [rows, columns], support.floats([value] * (rows * columns)))
        identity = ("F32", [4, 4], support.floats([1.0 if i % 5 == 0 else 0.0 for i in range(16)]))
        for name, tensors in (("nothing", {}), ("no weight", {"hessian": identity}), ("no hessian", {"weight": matrix(2, 4)}),
                              ("wrong hessian", {"weight": matrix(2, 4), "hessian": matrix(3, 3)}),
                              ("flat hessian", {"weight": matrix(2, 4), "hessian": matrix(2, 4)}),
                              ("wrong inputs", {"weight": matrix(2, 4), "inputs": matrix(8, 3)}),
                              ("no inputs", {"weight": matrix(2, 4), "inputs": ("F32", [0, 4], b"")}),
                              ("no rows", {"weight": ("F32", [0, 4], b""), "hessian": identity}),
                              ("NaN weight", {"weight": matrix(2, 4, float("nan")), "hessian": identity}),
                              ("NaN inputs", {"weight": matrix(2, 4), "inputs": matrix(4, 4, float("nan"))}),
                              ("negative hessian", {"weight": matrix(2, 4), "hessian": matrix(4, 4, -1.0)}),
                              ("integers", {"weight": ("I32", [2, 4], int32s([1] * 8)), "hessian": identity}),
                              ("vector", {"weight": ("F32", [8], support.floats([1] * 8)), "hessian": identity})):
            path = self.write("matrix.safetensors", safetensors(tensors))
            with self.subTest(name=name):
                self.expect_error("solve", path, "--output", output, says="matrix.safetensors", absent=output)
        self.expect_error("solve", self.path("absent"), "--output", output, says="absent", absent=output)

    def test_texts_and_prompts(self):
        for content in ("", "Once", " "):
            path = self.write("text.txt", content)
            self.expect_error("evaluate", STORIES, "--data", path, says="text.txt")
        self.expect_error("evaluate", STORIES, "--data", self.path("absent"), says="absent")
        self.expect_error("evaluate", STORIES, "--data", self.folder, says=self.folder)
        self.expect_error("generate", STORIES, "--prompt", "Once upon a time " * 200, says=["--prompt", "512"])
        for command in (("evaluate", STORIES), ("compare", STORIES, STORIES)):
            self.expect_error(*command, "--data", TEXT, "--sequence-length", 513, says=["at most 512 tokens", "--sequence-length"])
            self.run_ok(*command, "--data", TEXT, "--sequence-length", 512, "--windows", 1)
            self.run_ok(*command, "--data", TEXT, "--windows", 1)
        few = self.run_ok("evaluate", STORIES, "--data", self.write("few.txt", "Once upon a time. " * 60), "--sequence-length", 64, "--windows", 99)
        self.assertRegex(few.err, r"note: .*few.txt gives \d+ windows of 64 tokens, 99 were asked for")
        self.run_ok("generate", STORIES, "--prompt", "", "--tokens", 3)
        self.run_ok("evaluate", STORIES, "--data", self.write("bytes.txt", bytes(range(256)) * 40))

    # Already quantized.

    def test_quantized_already(self):
        self.run_ok(*self.quantize(output=self.path("first")))
        self.refused(model=self.path("first"), says=["quantized already", "first"])
        self.refused("--method", "rtn", model=self.path("first"), says="quantized already")
        # One whose config.json forgot what it is.
        shutil.copy(os.path.join(STORIES, "config.json"), self.path("first"))
        os.remove(self.path("first", "quantize_config.json"))
        self.refused(model=self.path("first"), says="first")

    # Outputs.

    def outputs(self):
        """Commands that write, without their --output."""
        tokens = self.write("tokens.safetensors", token_file([[1, 2, 3]]))
        return (("quantize", STORIES, "--samples", 2, "--sequence-length", 64), ("quantize", STORIES, "--method", "rtn"),
                ("logits", STORIES, "--tokens", tokens), ("solve", SOLVE_INPUT))

    def test_outputs_that_exist(self):
        for command in self.outputs():
            with self.subTest(command=command[0]):
                path = self.write("there", "keep me")
                self.expect_error(*command, "--output", path, says=["there", "--overwrite"])
                self.assertEqual(open(path, "rb").read(), b"keep me")
                os.remove(path)
                kept = self.write("there/file", "keep me")
                for extra in ((), ("--overwrite",)) if command[0] != "quantize" else ((),):
                    self.expect_error(*command, "--output", self.path("there"), *extra, says="there")
                    self.assertEqual(open(kept, "rb").read(), b"keep me")
                self.assertFalse(os.path.exists(self.path("there.partial")))
                shutil.rmtree(self.path("there"))
        path = self.write("file", "keep me")
        self.expect_error("quantize", STORIES, "--method", "rtn", "--overwrite", "--output", path, says="file")
        self.assertEqual(open(path, "rb").read(), b"keep me")

    def test_overwrite_replaces_models_only(self):
        rounding = ("--method", "rtn", "--overwrite")
        kept = self.write("documents/thesis.txt", "keep me")
        self.expect_error("quantize", STORIES, *rounding, "--output", self.path("documents"), says="documents")
        self.assertTrue(os.path.exists(kept))
        model = self.path("model")
        shutil.copytree(STORIES, model)
        for output in (model, os.path.join(model, ""), self.path("model", "..", "model")):
            self.expect_error("quantize", model, *rounding, "--output", output, says="model")
        self.assertFalse(os.path.exists(self.path("model", "quantize_config.json")))
        kept = self.write("out.partial/notes.txt", "keep me")
        self.expect_error("quantize", STORIES, "--method", "rtn", "--output", self.path("out"), says="out.partial")
        self.assertTrue(os.path.exists(kept))

    def test_outputs_that_cannot_be(self):
        self.write("file", "x")
        for command in self.outputs():
            for output in (self.path("absent", "out"), self.path("file", "out"), "/", "/proc/out", "/dev/null", "/dev/null/out", "", ".", "..",
                           self.path("x" * 300), self.path("x" * 5000)):
                with self.subTest(command=command[0], output=output[:60]):
                    result = self.run_gptq(*command, "--output", output)
                    self.assertEqual(result.code, 1, str(result))
                    self.assertIn("gptq: error: ", result.err)
                    self.assertEqual(sorted(os.listdir(self.folder)), ["file", "tokens.safetensors"])

    def test_outputs_that_may_not_be_written(self):
        if os.geteuid() == 0:
            drop = lambda: (os.setgid(65534), os.setuid(65534))
        else:
            drop = lambda: None
        forbidden = self.path("forbidden")
        os.mkdir(forbidden)
        os.chmod(forbidden, 0o555)
        os.chmod(self.folder, 0o755)
        model = shutil.copytree(STORIES, self.path("model"))
        tried = subprocess.run([program(), "inspect", model], capture_output=True, preexec_fn=drop, check=False)
        if tried.returncode != 0:
            self.skipTest("another user cannot run the program here")
        self.expect_error("quantize", model, "--method", "rtn", "--output", os.path.join(forbidden, "out"), says="forbidden",
                          absent=os.path.join(forbidden, "out"), preexec_fn=drop)

    def test_files_that_may_not_grow(self):
        for limit in (0, 1, 4096, 100000, 200000, 282000):
            def limited():
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            for command in self.outputs():
                if limit > 1000 and command[0] in ("logits", "solve"):
                    continue
                with self.subTest(command=command[0], limit=limit):
                    self.expect_error(*command, "--output", self.path("out"), absent=self.path("out"), preexec_fn=limited)
        # An output that is to be replaced survives.
        self.run_ok("quantize", STORIES, "--method", "rtn", "--output", self.path("out"))
        before = {name: open(self.path("out", name), "rb").read() for name in os.listdir(self.path("out"))}
        self.expect_error("quantize", STORIES, "--method", "rtn", "--bits", 8, "--output", self.path("out"), "--overwrite",
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000)))
        self.assertEqual(before, {name: open(self.path("out", name), "rb").read() for name in os.listdir(self.path("out"))})
        self.assertFalse(os.path.exists(self.path("out.partial")))

    def test_a_disk_that_fills_up(self):
        disk = self.path("disk")
        os.mkdir(disk)
        size = 160 * 1024
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", disk], capture_output=True, check=False) \
            if os.geteuid() == 0 and shutil.which("mount") else None
        if mounted is None or mounted.returncode != 0:
            self.skipTest("a small disk cannot be mounted here")
        try:
            with open(os.path.join(disk, "full"), "wb") as file:
                file.write(b"x" * (size - 8192))
            for command in self.outputs():
                with self.subTest(command=command[0]):
                    output = os.path.join(disk, "out")
                    if command[0] == "logits":
                        command = ("logits", STORIES, "--tokens", self.write("more.safetensors", token_file([[1] * 100])))
                    self.expect_error(*command, "--output", output, absent=output)
            os.remove(os.path.join(disk, "full"))
            self.expect_error("quantize", STORIES, "--method", "rtn", "--output", os.path.join(disk, "out"), absent=os.path.join(disk, "out"))
        finally:
            subprocess.run(["umount", disk], check=False)

    # Interruption.

    def interrupt(self, number, *command, after):
        process = subprocess.Popen([program(), *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(after)
        early = process.poll()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        self.assertIsNone(early, "it ended before it could be interrupted: " + err.decode()[-500:])
        return process.returncode, out.decode(), err.decode()

    def test_interrupted(self):
        tokens = self.write("many.safetensors", token_file([[i % 500 for i in range(512)]] * 2000))
        for number in (signal.SIGINT, signal.SIGTERM):
            for after in (0.15, 1.0):
                # 130 shows that it stopped long before the end; `interrupt` gives up on one that does not stop.
                code, out, err = self.interrupt(number, "quantize", STORIES, "--output", self.path("out"), "--calibration", tokens, after=after)
                self.assertEqual(code, 130, err)
                self.assertEqual(out, "")
                self.assertRegex(err.splitlines()[-1], r"^gptq: interrupted: .*the same command")
                self.expect_nothing_at(self.path("out"))
        self.run_ok(*self.quantize())
        code, _, err = self.interrupt(signal.SIGINT, "evaluate", STORIES, "--data", WHOLE_TEXT, after=0.5)
        self.assertEqual(code, 130, err)

    def test_two_at_work_on_one_output(self):
        tokens = self.write("many.safetensors", token_file([[i % 500 for i in range(512)]] * 2000))
        first = subprocess.Popen([program(), "quantize", STORIES, "--output", self.path("out"), "--calibration", tokens],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.time() + 30
            while not os.path.exists(self.path("out.partial")) and time.time() < deadline:
                time.sleep(0.01)
            result = self.run_gptq(*self.quantize())
            self.assertEqual(result.code, 1, str(result))
            self.assertIn("another process", result.err)
            self.assertTrue(os.path.exists(self.path("out.partial")))
        finally:
            first.send_signal(signal.SIGINT)
            first.wait(timeout=60)
        self.expect_nothing_at(self.path("out"))


if __name__ == "__main__":
    support.main()
