"""GGUF files in llama.cpp and here: perplexity under its protocol, and greedy continuations.

    python3 benchmarks/peers/llama_cpp_files.py build/gptq LLAMA_BIN TEXT FILE.gguf...

LLAMA_BIN: a folder with llama.cpp's llama-perplexity and llama-completion. For each file it prints both perplexities, their relative
difference, and how many characters of the continuations agree. llama.cpp rounds the inputs of quantized weights to 8 bits; with --floats
it is given the same values as float32 (`gptq convert --type f32 --embedding-bits 16`), whose inputs it does not round.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise SystemExit("%s failed:\n%s" % (" ".join(command), (text + done.stderr.decode("utf-8", "replace"))[-2000:]))
    return text, done.stderr.decode("utf-8", "replace")


def their_perplexity(options, file):
    for _ in range(10):  # a short run may end before its last lines are written
        out, err = run(os.path.join(options.bin, "llama-perplexity"), "-m", file, "-f", options.text, "-c", str(options.context),
                       "-b", str(options.context), "--chunks", str(options.chunks), "-t", str(options.threads))
        found = re.search(r"Final estimate: PPL = ([0-9.]+)", out + err)
        if found:
            return float(found.group(1))
    raise SystemExit("llama-perplexity printed no estimate:\n" + (out + err)[-2000:])


def our_perplexity(options, file):
    out, _ = run(options.program, "evaluate", file, "--task", "perplexity", "--protocol", "llama.cpp", "--data", options.text,
                 "--sequence-length", str(options.context), "--windows", str(options.chunks), "--threads", str(options.threads), "--json")
    return json.loads(out)["perplexity"]


def continuations(options, file, their_file, prompt):
    theirs, _ = run(os.path.join(options.bin, "llama-completion"), "-m", their_file, "-p", prompt, "-n", str(options.tokens), "--temp", "0",
                    "-no-cnv", "--no-display-prompt", "-t", str(options.threads), "--simple-io")
    out, _ = run(options.program, "generate", file, "--prompt", prompt, "--tokens", str(options.tokens), "--temperature", "0",
                 "--threads", str(options.threads), "--json")
    ours = json.loads(out)["text"]
    theirs = theirs.rstrip().removesuffix("[end of text]")
    common = os.path.commonprefix([ours.strip(), theirs.strip()])
    return len(common), len(theirs.strip()), ours, theirs


def compare(options, file, their_file, what):
    theirs, ours = their_perplexity(options, their_file), our_perplexity(options, file)
    print("%-40s llama.cpp%s %10.4f  ours %10.4f  difference %+.3f %%" %
          (os.path.basename(file), what, theirs, ours, 100 * (ours / theirs - 1)), flush=True)
    for prompt in options.prompt or ["The capital of France is", "Once upon a time, there was a little girl"]:
        if not prompt:
            continue
        common, whole, ours, theirs = continuations(options, file, their_file, prompt)
        print("    continuation: %d of %d characters agree%s" %
              (common, whole, "" if common == whole else "\n      ours   %r\n      theirs %r" % (ours, theirs)), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("bin")
    parser.add_argument("text")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt", action="append", help="default: two sentences; '' for none")
    parser.add_argument("--floats", action="store_true", help="only with the weights as float32 in llama.cpp")
    options = parser.parse_args()
    for file in options.files:
        if not options.floats:
            compare(options, file, file, "")
            continue
        with tempfile.TemporaryDirectory() as work:
            floats = os.path.join(work, "floats.gguf")
            run(options.program, "convert", file, "--output", floats, "--format", "gguf", "--type", "f32",
                "--embedding-bits", "16", "--quiet")
            compare(options, file, floats, " (float32)")


if __name__ == "__main__":
    main()
