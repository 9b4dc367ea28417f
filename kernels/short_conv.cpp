#include "kernels/short_conv.h"
