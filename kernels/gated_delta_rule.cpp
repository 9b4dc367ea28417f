#include "kernels/gated_delta_rule.h"
