#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dist/process_group_backend.h"

namespace mudelta::testing {

// A rank that stands for a group of its kind: what it gathers are copies of its own. What is asked of it with tensors
// is counted and not done.
class HostGroup final : public ProcessGroup::Backend {
 public:
  HostGroup(int rank, int size) : rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "none"; }
  std::shared_ptr<const Backend> split(int, int) const override { return std::make_shared<HostGroup>(rank_, size_); }
  void all_reduce(const Tensor&, ReduceOp, Stream) const override { ++calls; }
  void reduce_scatter(const Tensor&, const Tensor&, Stream) const override { ++calls; }
  void all_gather(const Tensor&, const Tensor&, Stream) const override { ++calls; }
  void broadcast(const Tensor&, int, Stream) const override { ++calls; }
  void all_to_all(const Tensor&, const Tensor&, Stream) const override { ++calls; }
  void send(const Tensor&, int, Stream) const override { ++calls; }
  void receive(const Tensor&, int, Stream) const override { ++calls; }
  void barrier() const override {}
  bool barrier_within(double) const override { return true; }
  std::vector<double> all_gather(const std::vector<double>& values) const override {
    std::vector<double> all;
    for (int i = 0; i < size_; ++i) all.insert(all.end(), values.begin(), values.end());
    return all;
  }
  std::vector<std::string> all_gather(const std::string& value) const override {
    return std::vector<std::string>(static_cast<std::size_t>(size_), value);
  }

  static inline int calls = 0;  // with tensors

 private:
  int rank_, size_;
};

}  // namespace mudelta::testing
