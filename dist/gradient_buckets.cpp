#include "dist/gradient_buckets.h"
