#!/usr/bin/env python3
"""What quantization loses, for several settings: a table of divergences and perplexities.

Usage: quality.py PROGRAM MODEL WORK_FOLDER --calibration FILE --text NAME=FILE:WINDOWS ... [--sequence-length N]
                  --run 'NAME | options of gptq quantize' ...

Each run is quantized into WORK_FOLDER, compared with MODEL on every text (`gptq compare`), and removed. One line of
Markdown a run: bits per weight, seconds, and for each text the mean Kullback-Leibler divergence (nats per token) and
the perplexity.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys


def gptq(program, *arguments):
    done = subprocess.run([program, *map(str, arguments), "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def measure(options, name, arguments):
    output = options.work / "output"
    shutil.rmtree(output, ignore_errors=True)
    quantized = gptq(options.program, "quantize", options.model, "--output", output, "--calibration",
                     options.calibration, "--overwrite", *arguments)
    cells = [name, f"{quantized['bits_per_weight']:.2f}", f"{quantized['seconds']:.0f}"]
    for text in options.text:
        label, place = text.split("=", 1)
        file, windows = place.rsplit(":", 1)
        compared = gptq(options.program, "compare", options.model, output, "--data", file, "--windows", windows,
                        "--sequence-length", options.sequence_length,
                        "--reference-cache", options.work / f"reference_{label}")
        cells += [f"{compared['kl_mean']:.4f}", f"{compared['perplexity_b']:.2f}"]
    shutil.rmtree(output)
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", action="append", required=True)
    parser.add_argument("--run", action="append", required=True)
    parser.add_argument("--sequence-length", type=int, default=1024)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    labels = [text.split("=", 1)[0] for text in options.text]
    print("| | bits | seconds | " + " | ".join(f"{label} KL | perplexity" for label in labels) + " |")
    print("|---" * (3 + 2 * len(labels)) + "|", flush=True)
    for run in options.run:
        name, arguments = (part.strip() for part in run.split("|", 1))
        measure(options, name, arguments.split())


if __name__ == "__main__":
    main()
