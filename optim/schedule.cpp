#include "optim/schedule.h"
