namespace gptq {}
