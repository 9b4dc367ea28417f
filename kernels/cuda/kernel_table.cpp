#include "kernels/cuda/kernel_table.h"

namespace mudelta::kernels::cuda {

const KernelTable& kernel_table() {
#define MUDELTA_KERNEL_ADDRESS(name) &cuda::name,
  static const KernelTable table{MUDELTA_CUDA_KERNELS(MUDELTA_KERNEL_ADDRESS)};
#undef MUDELTA_KERNEL_ADDRESS
  return table;
}

}  // namespace mudelta::kernels::cuda
