#include "kernels/rms_norm.h"
