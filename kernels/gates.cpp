#include "kernels/gates.h"
