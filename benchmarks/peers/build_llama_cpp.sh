#!/bin/sh
# Builds the llama.cpp inside of llama-cpp-python's source package, for this processor, into FOLDER/bin: what the
# other scripts here compare with. Takes minutes; needs pip, cmake and a compiler.
# usage: benchmarks/peers/build_llama_cpp.sh FOLDER
set -eu
[ $# -eq 1 ] || { sed -n 2,4p "$0"; exit 2; }
version=0.3.36
mkdir -p "$1"
cd "$1"
if [ ! -d llama.cpp ]; then
  python3 -m pip download --quiet --no-deps --no-binary :all: "llama-cpp-python==$version"
  tar xf llama_cpp_python-$version.tar.gz
  mv llama_cpp_python-$version/vendor/llama.cpp llama.cpp
fi
instructions=-DGGML_NATIVE=ON
if grep -q amx_int8 /proc/cpuinfo; then  # its AMX kernels crash: all the processor has but these
  instructions="-DGGML_NATIVE=OFF"
  for set in AVX AVX2 BMI2 FMA F16C AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16; do instructions="$instructions -DGGML_$set=ON"; done
fi
# shellcheck disable=SC2086
cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release $instructions -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF
cmake --build build --parallel "$(nproc)" --target llama-bench llama-perplexity llama-completion llama-quantize
mkdir -p bin
cp build/bin/llama-* bin/
