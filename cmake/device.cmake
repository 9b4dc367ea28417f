# The three definitions of the seam to a GPU (core/gpu.h, kernels/cuda_twin.h, dist/nccl_backend.h). A program
# links exactly one, as objects: mudelta_device (CUDA, or none where it was not found) or, in tests,
# mudelta_emulated_device (tests/simt/).

# Device sources of kernels/, compiled by nvcc for GPUs and by the C++ compiler for the emulator.
include(${PROJECT_SOURCE_DIR}/kernels/cuda_sources.cmake)
list(TRANSFORM MUDELTA_CUDA_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/kernels/)

add_library(mudelta_device OBJECT)
target_link_libraries(mudelta_device PUBLIC mudelta_dist)
if(MUDELTA_HAS_CUDA)
  target_sources(mudelta_device PRIVATE core/cuda/gemm.cpp core/cuda/runtime.cpp kernels/cuda_twin.cpp
                                        dist/nccl_backend.cpp ${MUDELTA_CUDA_SOURCES})
  # fmt 9 turns its constexpr off under nvcc, but not its consteval, which then does not compile.
  target_compile_definitions(mudelta_device PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
  target_compile_options(mudelta_device PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--threads=2>
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -lineinfo -Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>)
  target_include_directories(mudelta_device SYSTEM PRIVATE ${NCCL_INCLUDE_DIR})
  target_link_libraries(mudelta_device PUBLIC CUDA::cudart CUDA::cublasLt ${NCCL_LIBRARY})
else()
  target_sources(mudelta_device PRIVATE core/no_gpu.cpp kernels/no_cuda_twin.cpp dist/no_nccl.cpp)
endif()
