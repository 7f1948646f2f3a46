#!/usr/bin/env bash
# Quantizes a model at 4 and 3 bits by round-to-nearest and by GPTQ, prints one table, and generates from the result.
set -euo pipefail
cd "$(dirname "$0")/.."
gptq=build/gptq
out=${TMPDIR:-/tmp}/gptq-quickstart.$$
mkdir -p "$out"
trap 'status=$?; [ $status -eq 0 ] || tail -n 3 "$out/log" >&2; rm -rf "$out"' EXIT
field() { python3 -c 'import json,sys; v=json.load(open(sys.argv[1]))[sys.argv[2]]; print(sys.argv[3] % v)' "$@"; }

case "$1" in
  stories)
    model=models/stories260K text=data/tinystories/evaluation.txt length=512 windows=40 group=64
    calibration=(--calibration data/tinystories/calibration.jsonl --samples 128 --sequence-length 256)
    prompt="Once upon a time" ;;
  smollm2)
    model=$(scripts/fetch_smollm2.sh) text=tests/data/text/wikitext2-test.txt length=2048 windows=4 group=64
    calibration=(--samples 16)
    prompt="The capital of France is" ;;
esac

evaluate() { $gptq evaluate "$1" --task perplexity --data "$text" --sequence-length $length --windows $windows --json > "$2" 2>> "$out/log"; }

echo
echo "$model, perplexity of $text ($windows windows of $length tokens)"
printf '%-24s %16s %12s %10s\n' "" "bits per weight" "perplexity" "seconds"
evaluate "$model" "$out/float.json"
printf '%-24s %16s %12s %10s\n' "as it is" "" "$(field "$out/float.json" perplexity %.2f)" ""
for bits in 4 3; do
  for method in rtn gptq; do
    name=$method-$bits
    $gptq quantize "$model" --output "$out/$name" --method $method --bits $bits --group-size $group \
      --format gptq_v2 --asymmetric "${calibration[@]}" --json > "$out/$name.json" 2>> "$out/log"
    evaluate "$out/$name" "$out/$name.ppl.json"
    printf '%-24s %16s %12s %10s\n' "$([ $method = rtn ] && echo "round-to-nearest" || echo GPTQ), $bits bits" \
      "$(field "$out/$name.json" bits_per_weight %.2f)" "$(field "$out/$name.ppl.json" perplexity %.2f)" \
      "$(field "$out/$name.json" seconds %.1f)"
  done
done
echo
echo "The 4-bit checkpoint, read back:"
$gptq generate "$out/gptq-4" --prompt "$prompt" --tokens 120 --temperature 0.7 --seed 1 --quiet
