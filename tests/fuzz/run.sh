#!/usr/bin/env bash
# Builds the fuzz targets in build-fuzz and runs each for SECONDS (60): tests/fuzz/run.sh [SECONDS [KIND...]]
# What they find is left in build-fuzz/findings. Exit code 77: there is no clang with libFuzzer.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/common.sh
seconds=${1:-60}
shift $(($# > 0 ? 1 : 0))
kinds=("$@")
[ ${#kinds[@]} -eq 0 ] && kinds=(safetensors gguf torch tokenizer chat_template)

if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
    clang++ -fsanitize=fuzzer -x c++ - -o /dev/null 2>/dev/null; then
  echo "skipped: fuzzing, as clang++ with libFuzzer is not installed"
  exit 77
fi
build fuzz build-fuzz -DCMAKE_CXX_COMPILER=clang++ -DGPTQ_FUZZ=ON -DGPTQ_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo
mkdir -p build-fuzz/findings
for kind in "${kinds[@]}"; do
  say "fuzzing $kind for $seconds seconds"
  mkdir -p "build-fuzz/corpus/$kind"  # what is new stays there, not in the repository
  "build-fuzz/tests/fuzz/fuzz_$kind" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=3000 -max_len=20000 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix=build-fuzz/findings/ \
    "build-fuzz/corpus/$kind" "tests/fuzz/corpus/$kind"
done
