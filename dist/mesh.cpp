#include "dist/mesh.h"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "core/error.h"
#include "core/require_range.h"

namespace mudelta {
namespace {

ProcessGroup checked(ProcessGroup world, const ParallelConfig& config) {
  mesh_sizes(world.size(), config);
  return world;
}

}  // namespace

std::string MeshSizes::to_string() const {
  const std::int64_t ranks = std::int64_t{data} * context * tensor;
  return fmt::format("{} rank{} = {} data x {} context x {} tensor", ranks, ranks == 1 ? "" : "s", data, context,
                     tensor);
}

MeshSizes mesh_sizes(int num_ranks, const ParallelConfig& config) {
  const int context = config.context(), tensor = config.tensor();
  require(context >= 1, "parallel.context is {}: expected at least 1", context);
  require(tensor >= 1, "parallel.tensor is {}: expected at least 1", tensor);
  const std::int64_t replica = std::int64_t{context} * tensor;
  require(num_ranks % replica == 0, "{} ranks: expected a multiple of parallel.tensor {} x parallel.context {} = {}",
          num_ranks, tensor, context, replica);
  return {.data = static_cast<int>(num_ranks / replica), .context = context, .tensor = tensor};
}

bool sequence_parallel(const ParallelConfig& config) {
  return config.has_sequence_parallel() ? config.sequence_parallel() : config.tensor() > 1;
}

int zero_stage(const ParallelConfig& config, int num_ranks) { return num_ranks == 1 ? 1 : config.zero_stage(); }

// rank = (data rank x context + context rank) x tensor + tensor rank.
Mesh::Mesh(ProcessGroup world, const ParallelConfig& config)
    : world_(checked(std::move(world), config)),
      data_(world_.split(world_.rank() % (config.context() * config.tensor()), world_.rank())),
      context_(world_.split(
          world_.rank() / (config.context() * config.tensor()) * config.tensor() + world_.rank() % config.tensor(),
          world_.rank())),
      tensor_(world_.split(world_.rank() / config.tensor(), world_.rank())),
      gradients_(config.context() == 1 ? data_ : world_.split(world_.rank() % config.tensor(), world_.rank())),
      replica_(config.context() == 1
                   ? tensor_
                   : world_.split(world_.rank() / (config.context() * config.tensor()), world_.rank())) {
  if (config.check_collectives()) world_.check_collectives();
  data_ = data_.named("data");
  context_ = context_.named("context");
  tensor_ = tensor_.named("tensor");
  gradients_ = config.context() == 1 ? data_ : gradients_.named("data x context");
  replica_ = config.context() == 1 ? tensor_ : replica_.named("context x tensor");
}

void validate(const ParallelConfig& parallel) {
  constexpr double kMaxBucketMib = 1 << 20;
  require(parallel.zero_stage() >= 0 && parallel.zero_stage() <= 3, "parallel.zero_stage is {}: expected 0, 1, 2 or 3",
          parallel.zero_stage());
  require(parallel.bucket_mib() > 0 && parallel.bucket_mib() <= kMaxBucketMib,
          "parallel.bucket_mib is {}: expected more than 0 and at most {}", parallel.bucket_mib(), kMaxBucketMib);
  require_at_least("parallel.timeout_seconds", parallel.timeout_seconds(), 0);
}

}  // namespace mudelta
