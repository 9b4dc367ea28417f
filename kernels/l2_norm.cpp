#include "kernels/l2_norm.h"
