# Every third-party package, found once. Debian package names are in launch/scripts/install_packages.sh.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(MPI REQUIRED COMPONENTS C)
find_package(Protobuf REQUIRED)
find_package(glog REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(hwy REQUIRED)
find_package(ZLIB REQUIRED)

# oneDNN: Debian's CMake package asks for OpenCL, which its CPU engine does not need.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(mudelta_dnnl INTERFACE)
target_include_directories(mudelta_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(mudelta_dnnl INTERFACE ${DNNL_LIBRARY})

find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

if(MUDELTA_BUILD_TESTS)
  find_package(Boost REQUIRED COMPONENTS context)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
endif()
