#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dist/process_group.h"

namespace mudelta {

// How a group of two or more ranks communicates. ProcessGroup has checked every argument: tensors are defined, not
// empty, of the sizes and dtypes that its contract asks for, and peers are other ranks of the group.
class ProcessGroup::Backend {
 public:
  Backend() = default;
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string transport() const = 0;
  // Null where this rank is alone with its color.
  virtual std::shared_ptr<const Backend> split(int color, int key) const = 0;

  virtual void all_reduce(const Tensor& tensor, ReduceOp op, Stream stream) const = 0;
  virtual void reduce_scatter(const Tensor& input, const Tensor& output, Stream stream) const = 0;
  virtual void all_gather(const Tensor& input, const Tensor& output, Stream stream) const = 0;
  virtual void broadcast(const Tensor& tensor, int root, Stream stream) const = 0;
  virtual void all_to_all(const Tensor& input, const Tensor& output, Stream stream) const = 0;
  virtual void send(const Tensor& tensor, int to, Stream stream) const = 0;
  virtual void receive(const Tensor& tensor, int from, Stream stream) const = 0;
  virtual void barrier() const = 0;
  virtual bool barrier_within(double seconds) const = 0;

  // Host values of every rank, in rank order; numbers are as many on every rank.
  virtual std::vector<double> all_gather(const std::vector<double>& values) const = 0;
  virtual std::vector<std::string> all_gather(const std::string& value) const = 0;
};

}  // namespace mudelta
