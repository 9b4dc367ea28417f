#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta {

enum class ReduceOp : std::uint8_t { kSum, kMax };

// A group of ranks that communicate: a cheap value handle. In a group of one every collective is a local no-op (or the
// copy that its definition implies). Collectives are called by every rank of the group, in the same order, with
// tensors of the same shape and dtype; sizes are in elements.
class ProcessGroup {
 public:
  class Backend;  // dist/process_group_backend.h

  // A group of this process alone; needs no MPI.
  static ProcessGroup single();
  // All ranks that mpirun started (dist/mpi.h must be initialised); of size 1 without mpirun.
  static ProcessGroup world();

  int rank() const;
  int size() const;

  // Ranks that give the same color form a new group, ordered by `key`.
  ProcessGroup split(int color, int key) const;

  // tensor = reduction over ranks. float32 or int32.
  void all_reduce(const Tensor& tensor, ReduceOp op, Stream stream) const;
  // input [size() * n]; output [n] = the sum over ranks of their input's part number rank(). float32.
  // `output` may be that part of `input`; otherwise they must not overlap.
  void reduce_scatter(const Tensor& input, const Tensor& output, Stream stream) const;
  // output [size() * n] = every rank's input [n], in rank order. `input` may be part number rank() of `output`.
  void all_gather(const Tensor& input, const Tensor& output, Stream stream) const;
  // tensor = that of rank `root`.
  void broadcast(const Tensor& tensor, int root, Stream stream) const;
  // input and output [size() * n]: part p of `input` goes to rank p, part p of `output` comes from rank p. No overlap.
  void all_to_all(const Tensor& input, const Tensor& output, Stream stream) const;
  void send(const Tensor& tensor, int to, Stream stream) const;
  void receive(const Tensor& tensor, int from, Stream stream) const;
  void barrier() const;

  // Small host values, for decisions that all ranks must share.
  double all_reduce(double value, ReduceOp op) const;
  // Every rank's string, in rank order, on every rank.
  std::vector<std::string> all_gather(const std::string& value) const;

 private:
  explicit ProcessGroup(std::shared_ptr<const Backend> backend);
  std::shared_ptr<const Backend> backend_;  // null: a group of one
};

}  // namespace mudelta
