#include "dist/mesh.h"
