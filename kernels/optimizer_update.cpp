#include "kernels/optimizer_update.h"
