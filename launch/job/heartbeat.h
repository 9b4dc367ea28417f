#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

// Signs of life between ranks that work for long without a collective, by files in a folder that all of them see.

namespace mudelta {

// Renews a file's time of change every second, from a thread of its own: as long as this object lives and its process
// runs. `file` exists.
class Heartbeat {
 public:
  explicit Heartbeat(std::filesystem::path file);

 private:
  std::jthread thread_;
};

// Looks after the heartbeats of others. Only time in which this process runs counts, by what `look` is told.
class HeartbeatWatch {
 public:
  struct Source {
    std::string name;  // for the message
    std::filesystem::path file;
  };
  // limit_seconds 0: they may be silent for ever.
  HeartbeatWatch(std::vector<Source> sources, int limit_seconds);

  // `seconds`: since the last call. Throws Error, naming the source, if it has been silent for the limit.
  void look(double seconds);

 private:
  struct State {
    Source source;
    std::optional<std::filesystem::file_time_type> last;
    double silent_seconds = 0;
  };
  std::vector<State> states_;
  int limit_seconds_;
};

}  // namespace mudelta
