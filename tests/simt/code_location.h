#pragma once

#include <cstdint>
#include <string>

namespace mudelta::simt {

// A place in this program's code as a number that fits in 32 bits, and back. Place of code that called something: the
// call's return address.
std::uint32_t code_offset(const void* code);
const void* code_at(std::uint32_t offset);

// "attend<float>(...)"; its address if binutils' addr2line cannot be run.
std::string function_at(const void* code);
// "attention.cu:41, in reduce.cuh:12" (innermost last) of the call that returns to `code`.
std::string line_before(const void* code);

}  // namespace mudelta::simt
