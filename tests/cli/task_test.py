"""gptq evaluate --task: zero-shot tasks and bias sets."""

import json

import support
from support import STORIES

ROWS = "".join(json.dumps({"context": "Once upon a", "choices": ["time", "kztq", "qx"], "answer": answer}) + "\n" for answer in (0, 1))


class TaskTest(support.CliTest):
    def test_choices(self):
        data, details = self.write("data.jsonl", ROWS), self.path("details.jsonl")
        value = self.run_json("evaluate", STORIES, "--task", "choices", "--data", data, "--details", details)
        self.assertEqual((value["task"], value["examples"], value["accuracy"], value["accuracy_normalized"]), ("choices", 2, 0.5, 0.5))
        self.assertAlmostEqual(value["standard_error"], 0.5, 12)
        with open(details, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual([line["correct"] for line in lines], [True, False])
        self.assertEqual(len(lines[0]["log_likelihoods"]), 3)
        first = self.run_json("evaluate", STORIES, "--task", "choices", "--data", data, "--examples", 1)
        self.assertEqual((first["examples"], first["accuracy"]), (1, 1))
        self.assertIn("0.5000", self.run_ok("evaluate", STORIES, "--task", "choices", "--data", data).out)

    def test_threads_change_nothing(self):
        data = self.write("data.jsonl", ROWS)
        details = []
        for threads in (1, 2):
            path = self.path("details%d" % threads)
            self.run_ok("evaluate", STORIES, "--task", "choices", "--data", data, "--details", path, "--threads", threads)
            with open(path, "rb") as file:
                details.append(file.read())
        self.assertEqual(*details)

    def test_lambada(self):
        data = self.write("data.jsonl", json.dumps({"text": "Once upon a time"}) + "\n")
        value = self.run_json("evaluate", STORIES, "--task", "lambada", "--data", data)
        self.assertEqual((value["accuracy"], value["examples"]), (1, 1))
        self.assertLess(value["perplexity"], 2)

    def test_task_of_the_users_own(self):
        tasks = self.write("tasks.json", json.dumps({"mine": {"metrics": ["accuracy"], "rows": [
            {"context": "{q|strip}", "choices": ["{a}", "{b}"], "answer": "right", "first_answer": 1}]}}))
        data = self.write("data.csv", "q,a,b,right\n\" Once upon a \",kztq,time,2\n")
        value = self.run_json("evaluate", STORIES, "--task", "mine", "--task-file", tasks, "--data", data)
        self.assertEqual(value["accuracy"], 1)
        self.assertNotIn("accuracy_normalized", value)

    def test_bias(self):
        data = self.write("pairs.csv", ",sent_more,sent_less,bias_type\n0,Once upon a time,Qz xx kztq,age\n1,Qz xx kztq,Once upon a time,race\n")
        value = self.run_json("evaluate", STORIES, "--task", "crows_pairs", "--data", data)
        self.assertEqual((value["stereotype_score"], value["examples"], value["icat"]), (50, 2, None))
        self.assertEqual(value["kinds"]["age"]["stereotype_score"], 100)
        self.assertIn("stereotype score 50.00", self.run_ok("evaluate", STORIES, "--task", "crows_pairs", "--data", data).out)

    def test_bad_data(self):
        def fails(content, *says, task="choices", name="data.jsonl"):
            details = () if task == "crows_pairs" else ("--details", self.path("details"))
            self.expect_error("evaluate", STORIES, "--task", task, "--data", self.write(name, content), *details, says=says, absent=self.path("details"))
        fails("", "no examples", "data.jsonl")
        fails("\n\n", "no examples")
        fails(ROWS + "{", "data.jsonl line 3")
        fails(ROWS + json.dumps({"context": "a", "choices": ["b", "c"], "answer": 2}), "answer", "line 3")
        fails(ROWS + json.dumps({"context": "a", "choices": ["b", "c"], "answer": 1.5}), "line 3")
        fails(ROWS + json.dumps({"context": "a " * 3, "choices": ["b", "c " * 600], "answer": 1}), "line 3", "limit is")
        fails("a,b\n1\n", "line 2", task="crows_pairs", name="data.csv")
        self.expect_usage_error("evaluate", STORIES, "--task", "nonsense", "--data", self.write("data.jsonl", ROWS), says=("nonsense", "lambada"))


if __name__ == "__main__":
    support.main()
