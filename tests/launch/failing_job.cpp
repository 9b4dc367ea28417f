// failing_job WAY: a job that ends badly, for program_test.cpp. All ranks but the last wait in a collective.

#include <fmt/format.h>

#include <cstdio>
#include <stdexcept>
#include <string>

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
    if (world.rank() == world.size() - 1) {
      if (way == "error") mudelta::fail("one rank knows");
      throw std::logic_error("a mistake of ours");
    }
    world.barrier();
    return 0;
  };
  return mudelta::run_job(command, argc, argv);
}
