#include "optim/parametrization.h"
