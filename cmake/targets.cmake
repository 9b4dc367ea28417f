# Compile settings shared by every target, and the functions that declare rooms and tests.

add_library(mudelta_options INTERFACE)
target_include_directories(mudelta_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_compile_options(mudelta_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers>)
# One set of SIMD targets for Highway's run-time dispatch: the baseline, AVX2 and AVX-512.
target_compile_definitions(mudelta_options INTERFACE "HWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_SSE4|HWY_AVX3_DL)")
if(MUDELTA_SANITIZE)
  target_compile_options(mudelta_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MUDELTA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  target_link_options(mudelta_options INTERFACE -fsanitize=${MUDELTA_SANITIZE})
endif()

# mudelta_room(NAME SOURCES ... PROTOS ... LINK ...): the static library mudelta_NAME.
function(mudelta_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PROTOS;LINK" ${ARGN})
  add_library(mudelta_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(mudelta_${name} PUBLIC mudelta_options ${ARG_LINK})
  if(ARG_PROTOS)
    target_link_libraries(mudelta_${name} PUBLIC protobuf::libprotobuf)
    foreach(proto ${ARG_PROTOS})
      get_filename_component(stem ${proto} NAME_WE)
      set(generated ${CMAKE_CURRENT_BINARY_DIR}/${stem}.pb)
      add_custom_command(
        OUTPUT ${generated}.cc ${generated}.h
        COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR} --cpp_out=${PROJECT_BINARY_DIR}
                ${CMAKE_CURRENT_SOURCE_DIR}/${proto}
        DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${proto}
        COMMENT "protoc ${name}/${proto}")
      target_sources(mudelta_${name} PRIVATE ${generated}.cc ${generated}.h)
      set_source_files_properties(${generated}.cc PROPERTIES COMPILE_OPTIONS "-w")
    endforeach()
  endif()
endfunction()

# Seconds: against hangs. How long a test takes depends on what else the machine does.
set(MUDELTA_TEST_TIMEOUT 1800)

# mudelta_test(NAME SOURCES ... LINK ... [RANKS 1 2 3] [LABEL unit|dist|slow|parity]):
# a GoogleTest program, and one ctest entry, or one per number of ranks (run under mpirun, named NAME_nN).
# It links the device that the program links; with EMULATED, the emulator. With NARROW there is a second entry,
# NAME_avx2, for CPUs whose vectors are wider: the same on AVX2.
function(mudelta_test name)
  cmake_parse_arguments(ARG "EMULATED;NARROW" "LABEL" "SOURCES;LINK;RANKS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(ARG_EMULATED)
    list(APPEND ARG_LINK mudelta_emulated_device)
  else()
    list(APPEND ARG_LINK mudelta_device)
  endif()
  if(ARG_NARROW)
    list(APPEND ARG_SOURCES ${PROJECT_SOURCE_DIR}/tests/support/narrow_simd.cpp)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  if(ARG_RANKS)
    # Distributed tests bring their own main: it starts and ends MPI and fails on every rank if one fails.
    target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest rapidcheck)
    foreach(ranks ${ARG_RANKS})
      list(APPEND entries ${name}_n${ranks})
      add_test(NAME ${name}_n${ranks}
               COMMAND ${PROJECT_SOURCE_DIR}/tests/mpirun.sh ${ranks} $<TARGET_FILE:${name}>)
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest_main GTest::gmock rapidcheck)
    set(entries ${name})
    add_test(NAME ${name} COMMAND ${name})
  endif()
  # Tests share cores: threads that spin while they wait would take them from one another.
  set_tests_properties(${entries} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${MUDELTA_TEST_TIMEOUT}
                                             ENVIRONMENT OMP_WAIT_POLICY=passive)
  if(ARG_NARROW)
    target_link_libraries(${name} PRIVATE hwy::hwy)
    add_test(NAME ${name}_avx2 COMMAND ${name})
    set_tests_properties(${name}_avx2 PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${MUDELTA_TEST_TIMEOUT} ENVIRONMENT
                         "OMP_WAIT_POLICY=passive;MUDELTA_TEST_NARROW_SIMD=1;DNNL_MAX_CPU_ISA=AVX2")
  endif()
endfunction()

# mudelta_device_test(NAME SOURCES ... LINK ... [RANKS 1 2]): tests of device code, twice: NAME_emulated, and for a
# machine with a GPU, where CUDA is built, NAME_gpu (label gpu). Takes mudelta_test's other arguments, too.
function(mudelta_device_test name)
  mudelta_test(${name}_emulated EMULATED ${ARGN})
  if(MUDELTA_HAS_CUDA)
    mudelta_test(${name}_gpu ${ARGN} LABEL gpu)
  endif()
endfunction()
