#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>

// The program as a user runs it. The test's target defines MUDELTA_PROGRAM and MUDELTA_MPIRUN (tests/mpirun.sh), which
// environment variables of these names replace where the build folder is another machine's.
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

inline std::string from_environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}
inline std::string program_path() { return from_environment("MUDELTA_PROGRAM", MUDELTA_PROGRAM); }

inline std::string mpirun_command(int ranks, const std::string& arguments,
                                  const std::string& program = program_path()) {
  const std::string command = program + " " + arguments, mpirun = from_environment("MUDELTA_MPIRUN", MUDELTA_MPIRUN);
  return ranks == 1 ? command : mpirun + " " + std::to_string(ranks) + " " + command;
}

// For a shell with a job whose process is $started: waits until `condition`, a command, holds, or the job has ended.
inline std::string wait_until(const std::string& condition) {
  return "while kill -0 $started 2>/dev/null && ! { " + condition + "; }; do sleep 0.01; done\n";
}

inline Outcome mudelta(const std::string& arguments) { return shell(mpirun_command(1, arguments)); }
inline Outcome mpirun(int ranks, const std::string& arguments, const std::string& program = program_path()) {
  return shell(mpirun_command(ranks, arguments, program));
}

inline int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace mudelta::testing
