#include "core/error.h"
#include "kernels/cuda/kernel_table.h"

namespace mudelta::kernels::cuda {

const KernelTable& kernel_table() { fail("there is no GPU: mudelta was built without CUDA"); }

}  // namespace mudelta::kernels::cuda
