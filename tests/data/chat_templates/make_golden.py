#!/usr/bin/env python3
"""Renders every case with jinja2, set up as transformers sets it up, and writes golden.jsonl.

Usage: make_golden.py FOLDER (needs jinja2 3.1)
"""

import datetime
import json
import os
import sys

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("show"), [], [], body).set_lineno(line)

    def show(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                            extensions=[Generation, "jinja2.ext.loopcontrols"])
ENVIRONMENT.filters["tojson"] = to_json
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = lambda form: datetime.datetime(2024, 7, 26).strftime(form)

SYSTEM = {"role": "system", "content": " Be kind. \n"}
USER = {"role": "user", "content": "  Hi <there>  "}
ANSWER = {"role": "assistant", "content": "Hello! \u00e9 \u4f60\u597d"}
QUESTION = {"role": "user", "content": "What's the weather in Paris?"}
RESULT = {"role": "tool", "content": "{\"temp\": 22.5}", "tool_call_id": "abcdefghi", "name": "weather"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt is 22.5."}
REASONED = {"role": "assistant", "content": "It is 22.5.", "reasoning_content": "I think.\n"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "look "}, {"type": "image"}]}
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather \"now\" & then",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string"}, "days": {"type": ["integer", "null"]},
        "names": {"type": "array", "items": {"type": "string"}}}},
    "return": {"type": "number"}}}]
DOCUMENTS = [{"title": "One", "text": "first"}, {"title": "Two", "text": "second"}]


def call(arguments, content=""):
    function = {"name": "weather", "arguments": arguments}
    return {"role": "assistant", "content": content,
            "tool_calls": [{"id": "abcdefghi", "type": "function", "function": function}]}


CONVERSATIONS = [
    ([USER], {}), ([SYSTEM, USER], {}), ([SYSTEM, USER, ANSWER, QUESTION], {}),
    ([USER, ANSWER, QUESTION, REASONED], {"add_generation_prompt": False}), ([USER, THOUGHT, QUESTION], {}),
    ([SYSTEM, QUESTION, call({"city": "Paris", "n": 1.5, "b": True, "x": None}), RESULT], {"tools": TOOLS}),
    ([QUESTION, call("{\"city\": \"Paris\"}", None), RESULT, REASONED, USER], {"tools": TOOLS}),
    ([SYSTEM, PARTS, ANSWER], {}), ([USER], {"enable_thinking": False}), ([USER, QUESTION], {}),
    ([USER], {"documents": DOCUMENTS, "date_string": "1 Jan 2025"}),
]
BASE = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None, "add_generation_prompt": True}
SYNTAX_VARIABLES = {"u": {"name": " ann lee ", "age": 3}, "l": [1, 2, 3]}


def answer(source, variables):
    try:
        return {"text": ENVIRONMENT.from_string(source).render(**variables)}
    except Exception as error:  # also what Python's own operators raise
        return {"error": type(error).__name__}


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "golden.jsonl"), "w", encoding="utf-8") as out:
        def write(name, source, file, variables):
            case = {"name": name, "variables": variables, **({"file": file} if file else {"source": source})}
            out.write(json.dumps({**case, **answer(source, variables)}, ensure_ascii=True) + "\n")
        for file in sorted(os.listdir(os.path.join(folder, "templates"))):
            with open(os.path.join(folder, "templates", file), encoding="utf-8") as stream:
                source = stream.read()
            for number, (messages, more) in enumerate(CONVERSATIONS):
                write(f"{file} {number}", source, file, {**BASE, "messages": messages, **more})
        with open(os.path.join(folder, "syntax.txt"), encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                # "\n" outside of tags is a line break; inside, Jinja's own escape.
                source = line.rstrip("\n")
                if source.startswith(("  ", "{%+", "x ")):
                    source = source.replace("\\n", "\n")
                write(f"syntax.txt line {number}", source, None, SYNTAX_VARIABLES)


if __name__ == "__main__":
    main()
