#include "dist/mpi.h"
