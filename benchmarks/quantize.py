#!/usr/bin/env python3
"""Quantizes a model and prints the rates of forward and Hessian products beside the matrix-product rate of the machine,
measured just before and just after by the same program.

usage: benchmarks/quantize.py MODEL OUTPUT [options of `gptq quantize` ...]
"""

import json
import os
import subprocess
import sys

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build", "gptq")


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments, "--json", "--quiet"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    before = run("benchmark")["gemm_flops_per_second"]
    report = run("quantize", sys.argv[1], "--output", sys.argv[2], *sys.argv[3:])
    after = run("benchmark")["gemm_flops_per_second"]
    peak = max(before, after)
    stages = report["stages"]
    print(f"matrix products: {before / 1e9:.0f} GFLOP/s before, {after / 1e9:.0f} after")
    for name in ("forward", "hessian"):
        rate = report[name + "_flops"] / stages[name]
        print(f"{name:8} {rate / 1e9:6.0f} GFLOP/s = {100 * rate / peak:.0f} % of it, {stages[name]:.1f} s")
    print("stages:", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()))
    print(f"whole run {report['seconds']:.1f} s, peak memory {report['peak_memory_bytes'] / 2**30:.2f} GiB, "
          f"{report['bits_per_weight']:.2f} bits per weight")


main()
