"""`gptq chat` on the bundled model, with a chat template of a few words."""

import json
import os
import shutil

import support
from support import STORIES

TEMPLATE = ("{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}{% else %}{{ m['content'] }}{% endif %}\n{% endfor %}")


class ChatTest(support.CliTest):
    template = TEMPLATE

    def model(self):
        folder = self.path("model")
        if not os.path.exists(folder):
            shutil.copytree(STORIES, folder)
        self.write("model/tokenizer_config.json", json.dumps({"chat_template": self.template}))
        return folder

    def chat(self, text, *options, tokens=20):
        return self.run_ok("chat", self.model(), "--temperature", 0, "--tokens", tokens, *options, input=text)

    def test_answers_each_message(self):
        result = self.chat("Once upon a time\n\nThe end\n")
        answers = result.out.split("\n")
        self.assertGreater(len(answers[0]), 10)
        self.assertIn("tokens read at", result.err)
        self.assertEqual(self.chat("Once upon a time\n\nThe end").out, result.out)
        messages = self.chat("Once upon a time\n\nThe end\n", "--json").json["messages"]
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"] * 2)
        self.assertEqual(messages[2]["content"], "The end")
        self.assertEqual("".join(m["content"] + "\n" for m in messages[1::2]), result.out)

    def test_goes_on_with_what_it_has_read(self):
        """The second answer is the one to the same text as one message, though most of that is not read again."""
        messages = self.chat("Tom had a ball\nHe was red\n", "--json", tokens=5).json["messages"]
        first, answer, second = (m["content"] for m in messages[:3])
        self.template = TEMPLATE.replace("{{ m['content'] }}{% endif %}", "{{ m['content'] | replace('|', '\n') }}{% endif %}")
        whole = self.chat(first + "| " + answer.replace("\n", "|") + "|" + second + "\n", "--json", tokens=5).json["messages"]
        self.assertEqual(whole[1]["content"], messages[3]["content"])
        self.assertEqual(self.chat("Tom had a ball\nHe was red\n", "--json", "--threads", 1, tokens=5).json["messages"], messages)

    def test_system_and_stop(self):
        messages = self.chat("Once upon a time\n", "--json", "--system", "A story", "--stop", " ", "--seed", 3).json["messages"]
        self.assertEqual(messages[0], {"role": "system", "content": "A story"})
        self.assertNotIn(" ", messages[2]["content"].strip(" "))

    def test_forgets_what_does_not_fit(self):
        messages = self.chat("Once upon a time there was a dog\n" * 4, "--json", "--context", 64).json["messages"]
        self.assertLess(len(messages), 8)
        self.assertEqual(messages[-2]["content"], "Once upon a time there was a dog")
        result = self.run_gptq("chat", self.model(), "--context", 16, input="Once upon a time " * 20 + "\n")
        self.assertEqual(result.code, 1)
        self.assertIn("fewer than 16 fit", result.err)
        self.expect_error("chat", self.model(), "--context", 513, says=["at most 512 tokens", "--context"])

    def test_nothing_to_say(self):
        self.assertEqual(self.chat("").out, "")
        self.assertEqual(self.chat("", "--json").json["messages"], [])

    def test_needs_a_template(self):
        result = self.run_gptq("chat", STORIES, input="Hello\n")
        self.assertEqual(result.code, 1)
        self.assertIn("no chat template", result.err)


if __name__ == "__main__":
    support.main()
