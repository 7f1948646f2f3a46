"""Zero-shot tasks in lm-eval and here, example by example.

    python benchmarks/peers/lm_eval_tasks.py build/gptq FOLDER NAME=FILE.jsonl... --examples 200

FOLDER: a Hugging Face folder that transformers reads; lm-eval computes in float32. NAME: a task of `gptq evaluate`; FILE's rows have
`query`, `choices`, `label` (lambada: `text`). Prints for each task how many examples each of the two answers rightly, the examples of
which only one does, and how far their log-likelihoods are apart. Needs the packages lm_eval, transformers, torch.
"""

import argparse
import json
import os
import subprocess
import tempfile

import lm_eval
import torch
import transformers
from lm_eval.tasks import TaskManager

CHOICES = """output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_choice: choices
doc_to_target: label
metric_list:
  - metric: acc
  - metric: acc_norm
"""
PARTIAL = """output_type: multiple_choice
doc_to_text: !function partial.answer
doc_to_target: !function partial.behind_blank
doc_to_choice: !function partial.filled
metric_list:
  - metric: acc
"""
LAST_WORD = """output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' '+text.split(' ')[-1]}}"
metric_list:
  - metric: perplexity
  - metric: acc
"""
KINDS = {"lambada": LAST_WORD, "winogrande": PARTIAL}
PARTIAL_FUNCTIONS = '''
def answer(row):
    return row["label"]
def behind_blank(row):
    return row["query"].split("_", 1)[1].strip()
def filled(row):
    return [row["query"].split("_", 1)[0] + choice for choice in row["choices"]]
'''


def theirs(options, name, file, work):
    with open(os.path.join(work, "partial.py"), "w") as out:
        out.write(PARTIAL_FUNCTIONS)
    with open(os.path.join(work, name + ".yaml"), "w") as out:
        out.write("task: peer_%s\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: %s\ntest_split: test\n%s" %
                  (name, json.dumps(os.path.abspath(file)), KINDS.get(name, CHOICES)))
    manager = TaskManager(include_path=work, include_defaults=False)
    result = lm_eval.simple_evaluate(model="hf", model_args="pretrained=%s,dtype=float32" % options.folder, tasks=["peer_" + name],
                                     limit=options.examples, log_samples=True, task_manager=manager, device="cpu", batch_size=8)
    measures = {key.split(",")[0]: value for key, value in result["results"]["peer_" + name].items() if "," in key}
    return measures, sorted(result["samples"]["peer_" + name], key=lambda sample: sample["doc_id"])


def ours(options, name, file, work):
    details = os.path.join(work, name + ".details.jsonl")
    done = subprocess.run([options.program, "evaluate", options.folder, "--task", name, "--data", file, "--examples", str(options.examples),
                           "--details", details, "--quiet", "--json"], stdout=subprocess.PIPE, check=True)
    with open(details) as lines:
        return json.loads(done.stdout), [json.loads(line) for line in lines]


def log_likelihoods(sample):
    return [float(response[0][0] if isinstance(response[0], (list, tuple)) else response[0]) for response in sample["filtered_resps"]]


def compare(options, name, file):
    with tempfile.TemporaryDirectory() as work:
        their_measures, samples = theirs(options, name, file, work)
        our_measures, details = ours(options, name, file, work)
    if len(samples) != len(details):
        raise SystemExit("%s: %d examples there, %d here" % (name, len(samples), len(details)))
    measures = [("acc", "correct")] + ([("acc_norm", "correct_normalized")] if "acc_norm" in samples[0] else [])
    furthest, differing = 0, []
    for sample, detail in zip(samples, details):
        likelihoods = log_likelihoods(sample)
        furthest = max([furthest] + [abs(a - b) for a, b in zip(likelihoods, detail["log_likelihoods"])])
        differing += ["  line %d, %s: lm-eval %g, here %g; log-likelihoods there %s, here %s" %
                      (detail["line"], theirs_key, sample[theirs_key], detail[ours_key], likelihoods, detail["log_likelihoods"])
                      for theirs_key, ours_key in measures if (sample[theirs_key] > 0.5) != detail[ours_key]]
    counts = ", ".join("%s %d and %d" % (theirs_key, sum(sample[theirs_key] > 0.5 for sample in samples),
                                         sum(detail[ours_key] for detail in details)) for theirs_key, ours_key in measures)
    print("%-14s right of %d in lm-eval and here: %s; largest difference of a log-likelihood %.2g" %
          (name, len(samples), counts, furthest), flush=True)
    if "perplexity" in their_measures:
        print("  perplexity %.4f and %.4f" % (their_measures["perplexity"], our_measures["perplexity"]), flush=True)
    for line in differing:
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("tasks", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("lm-eval %s, transformers %s, torch %s" % (lm_eval.__version__, transformers.__version__, torch.__version__), flush=True)
    for task in options.tasks:
        compare(options, *task.split("=", 1))


if __name__ == "__main__":
    main()
