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
  python3 -m pip download --quiet --no-deps --no-build-isolation --no-binary :all: "llama-cpp-python==$version"
  tar xf llama_cpp_python-$version.tar.gz
  mv llama_cpp_python-$version/vendor/llama.cpp llama.cpp
fi
cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF
cmake --build build --parallel --target llama-bench llama-perplexity llama-completion llama-quantize
mkdir -p bin
cp build/bin/llama-* bin/
