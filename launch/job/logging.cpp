#include "launch/job/logging.h"

#include <fmt/format.h>
#include <glog/logging.h>

namespace mudelta {

void start_logging(const char* program) {
  FLAGS_stderrthreshold = google::GLOG_WARNING;
  FLAGS_timestamp_in_logfile_name = false;
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");
    google::SetLogSymlink(severity, "");
  }
  google::InitGoogleLogging(program);
}

void log_to_folder(const std::filesystem::path& folder, int rank) {
  // glog writes each message to the files of its severity and below: this one gets all.
  google::SetLogFilenameExtension(".log");
  google::SetLogDestination(google::GLOG_INFO, (folder / fmt::format("rank-{:04}", rank)).c_str());
}

}  // namespace mudelta
