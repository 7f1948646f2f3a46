#!/usr/bin/env python3
"""Speed of `gptq` beside llama.cpp (build_llama_cpp.sh): the same GGUF file, the same threads, in turn; the best of the
rounds of each, beside the read bandwidth that `gptq benchmark` measured in between.

usage: benchmarks/peers/llama_cpp.py MODEL.gguf LLAMA_BENCH [ROUNDS]
"""

import json
import os
import subprocess
import sys

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "build", "gptq")
THREADS, PREFILL, DECODE = (1, 2), 512, 128


def output(*command):
    return json.loads(subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)


def ours(model, threads):
    """The run at `threads`: tokens a second reading and writing, and the rest."""
    result = output(PROGRAM, "benchmark", model, "--threads", threads, "--json", "--quiet")
    return result["prefill_tokens_per_second"], result["decode_tokens_per_second"], result


def theirs(bench, model, threads):
    runs = output(bench, "-m", model, "-t", threads, "-p", PREFILL, "-n", DECODE, "-r", 3, "-o", "json")
    best = {bool(run["n_gen"]): max(run["samples_ts"]) for run in runs}
    return best[False], best[True]


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    model, bench, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3
    for threads in THREADS:
        mine, other, bandwidth, read = [], [], 0, 0
        for _ in range(rounds):
            prefill, decode, result = ours(model, threads)
            mine.append((prefill, decode))
            other.append(theirs(bench, model, threads))
            bandwidth = max(bandwidth, result["read_bandwidth_bytes_per_second"])
            read = result["bytes_per_token"]
        mine, other = [max(column) for column in zip(*mine)], [max(column) for column in zip(*other)]
        print(f"{threads} threads, {bandwidth / 1e9:.1f} GB/s, {read / 1e6:.1f} MB a token")
        for name, a, b in (("prefill", mine[0], other[0]), ("decode", mine[1], other[1])):
            share = f", {a * read / bandwidth:.0%} and {b * read / bandwidth:.0%} of the bandwidth" if name == "decode" else ""
            print(f"  {name:8s} {a:8.1f} tokens/s, llama.cpp {b:8.1f}: {a / b:.2f} x{share}")


if __name__ == "__main__":
    main()
