# Everything borrowed comes from Debian packages; ./quickstart installs them (scripts/packages.txt).
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# OpenBLAS, static: its constructor picks kernels by OPENBLAS_CORETYPE, which ours must set before (compute/blas.cpp),
# and a shared library's constructor would run too early for that. The build with threads, although we use one a call:
# the serial build shares its buffers between callers and gives wrong products when two threads call it at once.
find_library(OPENBLAS_ARCHIVE libopenblas.a
  PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-pthread /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}
  PATH_SUFFIXES openblas-pthread)
find_path(OPENBLAS_INCLUDE cblas.h
  PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-pthread PATH_SUFFIXES openblas-pthread openblas)
find_library(GFORTRAN_ARCHIVE NAMES libgfortran.a
  PATHS /usr/lib/gcc/${CMAKE_LIBRARY_ARCHITECTURE}/${CMAKE_CXX_COMPILER_VERSION_MAJOR}
        /usr/lib/gcc/${CMAKE_LIBRARY_ARCHITECTURE}/12 /usr/lib/gcc/${CMAKE_LIBRARY_ARCHITECTURE}/14)
find_library(QUADMATH_ARCHIVE NAMES libquadmath.a
  PATHS /usr/lib/gcc/${CMAKE_LIBRARY_ARCHITECTURE}/12 /usr/lib/gcc/${CMAKE_LIBRARY_ARCHITECTURE}/14)
if(NOT OPENBLAS_ARCHIVE OR NOT OPENBLAS_INCLUDE OR NOT GFORTRAN_ARCHIVE)
  message(FATAL_ERROR "static OpenBLAS not found: run ./quickstart build, or install libopenblas-pthread-dev and libgfortran-12-dev")
endif()
add_library(gptq_openblas INTERFACE)
target_include_directories(gptq_openblas SYSTEM INTERFACE ${OPENBLAS_INCLUDE})
target_link_libraries(gptq_openblas INTERFACE ${OPENBLAS_ARCHIVE} ${GFORTRAN_ARCHIVE})
if(QUADMATH_ARCHIVE)
  target_link_libraries(gptq_openblas INTERFACE ${QUADMATH_ARCHIVE})
endif()
target_link_libraries(gptq_openblas INTERFACE m)
