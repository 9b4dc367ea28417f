#include "dist/process_group.h"
