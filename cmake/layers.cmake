# gptq_layer(NAME USES targets... [PRECOMPILE headers...]): a static library of src/NAME/**.cpp
function(gptq_layer name)
  cmake_parse_arguments(arg "" "" "USES;PRECOMPILE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/${name}/*.cpp)
  add_library(gptq_${name} STATIC ${sources})
  target_include_directories(gptq_${name} PUBLIC src)
  target_link_libraries(gptq_${name} PUBLIC ${arg_USES})
  if(arg_PRECOMPILE)
    target_precompile_headers(gptq_${name} PRIVATE ${arg_PRECOMPILE})
  endif()
endfunction()

# Files named *_avx2.cpp, *_avx512.cpp, *_avx512vnni.cpp and *_amx.cpp are compiled for that instruction set (internal linkage
# only, see docs/architecture.md); on other processors they compile to nothing.
function(gptq_instruction_sets name)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    return()
  endif()
  file(GLOB_RECURSE avx2 CONFIGURE_DEPENDS src/${name}/*_avx2.cpp)
  file(GLOB_RECURSE avx512vnni CONFIGURE_DEPENDS src/${name}/*_avx512vnni.cpp)
  file(GLOB_RECURSE amx CONFIGURE_DEPENDS src/${name}/*_amx.cpp)
  file(GLOB_RECURSE avx512 CONFIGURE_DEPENDS src/${name}/*_avx512.cpp)
  set_source_files_properties(${avx2} PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mfma;-mf16c;-ffp-contract=fast")
  set(avx512_options "-O3;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512cd;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;-ffp-contract=fast")
  set_source_files_properties(${avx512} PROPERTIES COMPILE_OPTIONS "${avx512_options}")
  set_source_files_properties(${avx512vnni} PROPERTIES
    COMPILE_OPTIONS "${avx512_options};-mavx512vnni;-mavx512vbmi")
  set_source_files_properties(${amx} PROPERTIES COMPILE_OPTIONS "${avx512_options};-mamx-tile;-mamx-int8")
endfunction()

# architectures/*.json become string constants inside the binary.
function(gptq_embed_architectures name)
  file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/architectures/*.json)
  set(generated ${PROJECT_BINARY_DIR}/generated/embedded_architectures.cpp)
  add_custom_command(OUTPUT ${generated}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${generated} "-DFILES=${files}" -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${files} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(gptq_${name} PRIVATE ${generated})
endfunction()
