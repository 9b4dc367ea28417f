#include "launch/job/heartbeat.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <condition_variable>
#include <mutex>
#include <system_error>

#include "core/error.h"

namespace mudelta {
namespace {

void beat(const std::stop_token& end, const std::filesystem::path& file) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any ended;
  do {
    ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0);
  } while (!ended.wait_for(lock, end, std::chrono::seconds(1), [&] { return end.stop_requested(); }));
}

}  // namespace

Heartbeat::Heartbeat(std::filesystem::path file)
    : thread_([file = std::move(file)](const std::stop_token& end) { beat(end, file); }) {}

HeartbeatWatch::HeartbeatWatch(std::vector<Source> sources, int limit_seconds) : limit_seconds_(limit_seconds) {
  for (Source& source : sources) states_.push_back({.source = std::move(source), .last = std::nullopt});
}

void HeartbeatWatch::look(double seconds) {
  for (State& state : states_) {
    std::error_code error;
    const auto now = std::filesystem::last_write_time(state.source.file, error);
    if (!error && now != state.last) {
      state.last = now;
      state.silent_seconds = 0;
      continue;
    }
    state.silent_seconds += seconds;
    require(limit_seconds_ == 0 || state.silent_seconds < limit_seconds_,
            "{} has given no sign of life for {:.0f} s, expected one in less than {} s (parallel.timeout_seconds): it "
            "has stopped, or does not see {} any more",
            state.source.name, state.silent_seconds, limit_seconds_, state.source.file.string());
  }
}

}  // namespace mudelta
