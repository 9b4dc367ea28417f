#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "dist/traffic.h"

namespace mudelta {

enum class ReduceOp : std::uint8_t { kSum, kMax };

// How tensors on GPUs travel between ranks.
enum class DeviceTransport : std::uint8_t {
  kNccl,  // from GPU to GPU; every rank has one of its own
  kHost,  // through host memory and MPI, the host waiting; ranks may share a GPU
};

// A group of ranks that communicate: a cheap value handle. In a group of one every collective is a local no-op (or the
// copy that its definition implies). Collectives are called by every rank of the group, in the same order, with
// tensors of the same size and dtype; sizes are in elements and may be 0. Nothing but check_collectives() notices a
// rank that breaks this: the others wait for ever, or get wrong numbers. A rank that meets an error of its own must
// end the whole job (abort_job of dist/mpi.h).
// Throws Error on arguments that do not fit the contract, and with MPI's text if a call into MPI fails. The last handle
// frees its communicator, so handles must not be dropped in different orders by different ranks.
class ProcessGroup {
 public:
  class Backend;  // dist/process_group_backend.h

  // A group of this process alone; needs no MPI.
  static ProcessGroup single();
  // All ranks that mpirun started (dist/mpi.h must be initialised); of size 1 without mpirun.
  static ProcessGroup world();

  int rank() const;
  int size() const;
  // How tensors on its device travel: "MPI", "NCCL", "MPI through host memory"; "" in a group of one.
  std::string transport() const;

  // The same ranks, for tensors on GPUs as well as on the host; so are the groups split from it. Without this, tensors
  // on GPUs are refused in groups of two or more. Collective; each rank has chosen its device (gpu::use_device).
  ProcessGroup on_devices(DeviceTransport transport) const;

  // Ranks that give the same color (>= 0) form a new group, ordered by `key`, then by rank. It has the name of this
  // one. Collective.
  ProcessGroup split(int color, int key) const;

  // The same group under another name, which is for people: traffic() and messages have it. The world's is "world".
  ProcessGroup named(std::string name) const;
  // Of this group, those it was split from and those that were split from them.
  const Traffic& traffic() const;
  // Of the same groups: `observer` is called with the stream around each of their collectives on tensors, and again
  // once it is queued (or done, on the host). Empty: nobody is. For those who measure.
  using Observer = std::function<void(Stream stream, bool is_end)>;
  void observe(Observer observer) const;

  // From now on, in this family of groups, ranks compare each collective before it is begun: dist/collective_check.h.
  // For debugging, as it takes as long as several collectives. Every rank of the world calls it.
  void check_collectives() const;

  // Where a collective is called, for messages.
  using Place = std::source_location;

  // The collectives on tensors return, for tensors on a GPU, once their work is queued on `stream`.

  // tensor = reduction over ranks. kMax may lose a NaN, and is not for bfloat16. Sums of bfloat16 are rounded at each
  // addition.
  void all_reduce(const Tensor& tensor, ReduceOp op, Stream stream, Place place = Place::current()) const;
  // input [size() * n]; output [n] = the sum over ranks of their input's part number rank(). float32, or bfloat16, as
  // above. `output` may be that part of `input`; otherwise they must not overlap.
  void reduce_scatter(const Tensor& input, const Tensor& output, Stream stream, Place place = Place::current()) const;
  // output [size() * n] = every rank's input [n], in rank order. `input` may be part number rank() of `output`.
  void all_gather(const Tensor& input, const Tensor& output, Stream stream, Place place = Place::current()) const;
  // tensor = that of rank `root`.
  void broadcast(const Tensor& tensor, int root, Stream stream, Place place = Place::current()) const;
  // input and output [size() * n]: part p of `input` goes to rank p, part p of `output` comes from rank p. No overlap.
  void all_to_all(const Tensor& input, const Tensor& output, Stream stream, Place place = Place::current()) const;
  // To and from another rank of the group; the two calls must name tensors of one size and dtype. `send` may wait for
  // its `receive`.
  void send(const Tensor& tensor, int to, Stream stream, Place place = Place::current()) const;
  void receive(const Tensor& tensor, int from, Stream stream, Place place = Place::current()) const;
  void barrier(Place place = Place::current()) const;
  // Whether every rank comes here in less than about `seconds` after this one. If not, the group is of no further use.
  bool barrier_within(double seconds) const;

  // Small host values, for decisions that all ranks must share: the same bits on every rank. A NaN on any rank is the
  // result.
  double all_reduce(double value, ReduceOp op, Place place = Place::current()) const;
  // Each of several, as if alone, at the price of one. Every rank gives as many.
  std::vector<double> all_reduce(std::vector<double> values, ReduceOp op, Place place = Place::current()) const;
  // Every rank's string, in rank order, on every rank.
  std::vector<std::string> all_gather(const std::string& value, Place place = Place::current()) const;

 private:
  struct Family;  // what groups that were split from one world share

  ProcessGroup(std::shared_ptr<const Backend> backend, std::shared_ptr<Family> family, std::string name);
  template <class... Arguments>
  void begin(CollectiveKind kind, std::int64_t bytes, const Place& place, const Arguments&... arguments) const;
  template <class Body>
  void run(Stream stream, const Body& body) const;

  std::shared_ptr<const Backend> backend_;  // null: a group of one
  std::shared_ptr<Family> family_;
  std::string name_;
};

}  // namespace mudelta
