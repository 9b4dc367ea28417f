#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace mudelta {

// The folder of one run: config.textproto (and those it had before), metrics.jsonl, checkpoints/, log/. A folder that
// has a config.textproto holds a run. For one rank: what it finds is to be shared with the others
// (launch/job/agreement.h).
class RunDirectory {
 public:
  explicit RunDirectory(std::filesystem::path root);

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path config() const { return root_ / "config.textproto"; }
  std::filesystem::path metrics() const { return root_ / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return root_ / "checkpoints"; }
  std::filesystem::path log() const { return root_ / "log"; }

  bool holds_run() const;

  // Writes nothing. Throws Error, naming the folder, unless a run can go there: an absent or empty folder, or, with
  // `resume`, one that holds a run.
  void check(bool resume) const;

  // Makes the folder, if need be.
  void make() const;
  // Makes the folders and writes config.textproto. That of a resumed run, if it says something else, is kept as
  // config-until-step-00000020.textproto, the number being `steps_done`; a second one of the same step gets a -2.
  // Throws Error on failure.
  void create(std::string_view config_text, std::int64_t steps_done) const;

 private:
  void keep_config(std::string_view text, std::int64_t steps_done) const;

  std::filesystem::path root_;
};

}  // namespace mudelta
