#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

// The program as a user runs it. The test's target defines MUDELTA_PROGRAM and MUDELTA_MPIRUN (tests/mpirun.sh).
namespace mudelta::testing {

struct Outcome {
  int exit_code;       // -1: ended by a signal
  std::string output;  // stdout and stderr
};

inline Outcome shell(const std::string& command) {
  std::FILE* pipe = ::popen(("{ " + command + "\n} 2>&1").c_str(), "r");
  Outcome outcome{-1, ""};
  for (int c; (c = std::fgetc(pipe)) != EOF;) outcome.output += static_cast<char>(c);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

inline std::string mpirun_command(int ranks, const std::string& arguments,
                                  const std::string& program = MUDELTA_PROGRAM) {
  const std::string command = program + " " + arguments;
  return ranks == 1 ? command : MUDELTA_MPIRUN " " + std::to_string(ranks) + " " + command;
}

inline Outcome mudelta(const std::string& arguments) { return shell(mpirun_command(1, arguments)); }
inline Outcome mpirun(int ranks, const std::string& arguments, const std::string& program = MUDELTA_PROGRAM) {
  return shell(mpirun_command(ranks, arguments, program));
}

inline int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace mudelta::testing
