// failing_job WAY: a job that ends badly, for program_test.cpp. All ranks but the last wait in a collective.

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "dist/process_group.h"
#include "dist/watchdog.h"
#include "launch/job/agreement.h"
#include "launch/job/job.h"

int main(int argc, char** argv) {
  const std::string way = argc > 1 ? argv[1] : "";
  const mudelta::Command command = [&way] {
    const mudelta::ProcessGroup world = mudelta::ProcessGroup::world();
    if (way == "limit") {
      std::puts(fmt::format("the limit is {} s", mudelta::mpi_call_limit()).c_str());
      return 0;
    }
    if (way == "shared") throw mudelta::SharedError("all ranks know");
    if (way == "each") mudelta::fail("rank {} knows", world.rank());
    if (way == "alike") throw std::bad_alloc();
    if (way == "stopped") {
      mudelta::limit_mpi_calls(3);
      return mudelta::run_on_first_rank([] { return std::raise(SIGSTOP); });
    }
    if (way == "long") {
      mudelta::limit_mpi_calls(6);
      return mudelta::run_on_first_rank([] {
        std::this_thread::sleep_for(std::chrono::seconds(8));
        return 5;
      });
    }
    if (world.rank() == world.size() - 1) {
      if (way == "error") mudelta::fail("one rank knows");
      throw std::logic_error("a mistake of ours");
    }
    world.barrier();
    return 0;
  };
  return mudelta::run_job(command, argc, argv);
}
