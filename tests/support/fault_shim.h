#pragma once

#include <string>

// Control of tests/support/fault_shim.cpp, from a program that links it.

// From now on the call number `call` (from 1; 0: none) of those on files whose paths have `path` in them goes wrong.
void arm_fault(const std::string& path, const std::string& kind, long call);
// How many there were since.
long calls_that_count();
