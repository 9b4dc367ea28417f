#pragma once

#include <cstdio>

namespace mudelta {

// Columns of the terminal on which `out` appears; 0 if it goes elsewhere. mpirun puts a pseudo-terminal between itself
// and its ranks, whatever its own output is: under mpirun it is the launcher's output that counts.
int terminal_columns(std::FILE* out);

}  // namespace mudelta
