# A clean build spends most of its time in parsing headers: several sources go into one call of the compiler. Names in
# anonymous namespaces are therefore unique within a layer; -DCMAKE_UNITY_BUILD=OFF compiles file by file. Files with
# options of their own (instruction sets) always go alone, and no layer waits until those that it uses are compiled.
if(PROJECT_IS_TOP_LEVEL)
  option(CMAKE_UNITY_BUILD "Several sources in one call of the compiler" ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 15 CACHE STRING "How many")
endif()
set(CMAKE_OPTIMIZE_DEPENDENCIES ON)

# gptq_layer(NAME [JSON] USES targets...): a static library of src/NAME/**.cpp; JSON where most of it needs that header,
# which is then parsed once for all
function(gptq_layer name)
  cmake_parse_arguments(arg "JSON" "" "USES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/${name}/*.cpp)
  add_library(gptq_${name} STATIC ${sources})
  target_include_directories(gptq_${name} PUBLIC src)
  target_link_libraries(gptq_${name} PUBLIC ${arg_USES})
  set(replaced ${sources})  # by what -DGPTQ_CUDA=ON and the tests have in its place
  list(FILTER replaced INCLUDE REGEX "/cuda/absent.cpp$")
  set_source_files_properties(${replaced} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  if(name STREQUAL base)
    target_precompile_headers(gptq_base PRIVATE <nlohmann/json.hpp>)
  elseif(arg_JSON)
    target_precompile_headers(gptq_${name} REUSE_FROM gptq_base)
  endif()
endfunction()

# Files named *_avx2.cpp, *_avx512.cpp, *_avx512vnni.cpp and *_amx.cpp are compiled for that instruction set (internal linkage
# only, see docs/architecture.md); on other processors they compile to nothing.
function(gptq_instruction_sets name)
  file(GLOB_RECURSE portable CONFIGURE_DEPENDS src/${name}/*_portable.cpp)
  # Alone as well: they have the same names as those of the other sets.
  set_source_files_properties(${portable} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    return()
  endif()
  file(GLOB_RECURSE avx2 CONFIGURE_DEPENDS src/${name}/*_avx2.cpp)
  file(GLOB_RECURSE avx512vnni CONFIGURE_DEPENDS src/${name}/*_avx512vnni.cpp)
  file(GLOB_RECURSE amx CONFIGURE_DEPENDS src/${name}/*_amx.cpp)
  file(GLOB_RECURSE avx512 CONFIGURE_DEPENDS src/${name}/*_avx512.cpp)
  set_source_files_properties(${avx2} ${avx512} ${avx512vnni} ${amx} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
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
