"""Files beside the result (--report, --details, pages of `gptq report`): nothing else is destroyed, no result is lost with them."""

import json
import os

import support
from support import STORIES, TEXT

TASK = "".join(json.dumps({"context": "Once upon a", "choices": ["time", "kztq"], "answer": answer}) + "\n" for answer in (0, 1))
PERPLEXITY = ("evaluate", STORIES, "--data", TEXT, "--windows", 1, "--sequence-length", 64)


class SideFileTest(support.CliTest):
    def refused(self, *arguments, file, says):
        with open(file, "rb") as before:
            content = before.read()
        self.expect_usage_error(*arguments, says=says)
        with open(file, "rb") as after:
            self.assertEqual(after.read(), content)
        self.expect_no_remains()

    def expect_no_remains(self):
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith((".new", ".partial"))], [])

    def choices(self, data):
        return ("evaluate", STORIES, "--task", "choices", "--data", data)

    def test_inputs_are_not_overwritten(self):
        data = self.write("data.jsonl", TASK)
        for option in ("--report", "--details"):
            self.refused(*self.choices(data), option, data, file=data, says=[option, "--data names the same file"])
        for make in (os.symlink, os.link):
            link = self.path(make.__name__)
            make(data, link)
            self.refused(*self.choices(data), "--details", link, file=data, says="--data names the same file")
        same = self.path("same")
        self.expect_usage_error(*self.choices(data), "--details", same, "--report", os.path.join(self.folder, ".", "same"), says="names the same file")
        self.expect_usage_error("quantize", STORIES, "--output", same, "--report", same, says="--output names the same file")
        self.expect_nothing_at(same)
        result = self.write("result.json", json.dumps(self.run_json(*PERPLEXITY)))
        self.refused("report", result, "--output", result, file=result, says="FILES names the same file")
        self.refused("compare", STORIES, STORIES, "--data", TEXT, "--report", TEXT, file=TEXT, says="--data names the same file")

    def test_other_files_are_not_overwritten(self):
        notes, data = self.write("notes.html", "<!DOCTYPE html>\n<html>mine"), self.write("data.jsonl", TASK)
        result = self.write("result.json", json.dumps(self.run_json(*PERPLEXITY)))
        self.refused(*PERPLEXITY, "--report", notes, file=notes, says="something else than a page")
        self.refused("report", result, "--output", notes, file=notes, says="something else than a page")
        self.refused(*self.choices(data), "--details", notes, file=notes, says="something else than an earlier --details")
        self.expect_usage_error(*PERPLEXITY, "--report", "/dev/null", says="something else than a page")
        self.assertFalse(os.path.isfile("/dev/null"))

    def test_earlier_ones_are_replaced(self):
        page, details, data = self.write("page.html", ""), self.write("details", ""), self.write("data.jsonl", TASK)
        for _ in range(2):
            self.run_ok(*self.choices(data), "--report", page, "--details", details)
        with open(details, encoding="utf-8") as file:
            self.assertEqual(len(file.read().splitlines()), 2)
        self.run_ok(*PERPLEXITY, "--report", page)
        self.expect_no_remains()

    def test_a_place_that_cannot_be_written_is_found_before_the_work(self):
        data, name = self.write("data.jsonl", TASK), "x" * 255  # no room for what is added to it
        for option in ("--report", "--details"):
            result = self.expect_error(*self.choices(data), option, self.path(name), says=name)
            self.assertNotRegex(result.err, "[0-9]+/[0-9]+ in ")

    def test_a_full_disk_does_not_take_the_result_along(self):
        data = self.write("data.jsonl", TASK)
        for option, first in (("--report", 2), ("--details", 2)):
            for point in range(first, first + 4):  # made, written, synchronized, renamed
                with self.subTest(option=option, point=point):
                    file = self.path("file")
                    result = self.run_gptq(*self.choices(data), option, file, "--json", env=dict(os.environ, GPTQ_FAULT="full:%d" % point))
                    self.assertEqual(result.code, 1, str(result))
                    self.assertIn("No space left on device", result.err.splitlines()[-1])
                    self.assertEqual(result.json["examples"], 2)
                    self.expect_nothing_at(file)
                    self.expect_no_remains()

    def test_a_full_disk_leaves_a_sweep_that_goes_on(self):
        command = ("sweep", STORIES, "--output", self.path("sweep"), "--bits", 4, "--method", "rtn", "--data", TEXT, "--windows", 1, "--sequence-length", 64)
        for point in range(1, 5):
            result = self.run_gptq(*command, env=dict(os.environ, GPTQ_FAULT="full:%d" % point))
            self.assertEqual(result.code, 1, str(result))
            self.assertEqual(os.listdir(self.path("sweep")), [])
        self.run_ok(*command)


if __name__ == "__main__":
    support.main()
