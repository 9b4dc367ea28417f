#include "dist/mesh.h"

#include "core/error.h"

namespace mudelta {
namespace {

std::string describe(int num_ranks, std::int64_t data, int context, int tensor) {
  return fmt::format("{} rank{} = {} data x {} context x {} tensor", num_ranks, num_ranks == 1 ? "" : "s", data,
                     context, tensor);
}

ProcessGroup checked(ProcessGroup world, int context, int tensor) {
  require(context >= 1, "[mesh] parallel.context is {}, expected >= 1", context);
  require(tensor >= 1, "[mesh] parallel.tensor is {}, expected >= 1", tensor);
  const std::int64_t replica = std::int64_t{context} * tensor;
  require(world.size() % replica == 0,
          "[mesh] {} ranks cannot be data x {} context x {} tensor: expected a multiple of {}", world.size(), context,
          tensor, replica);
  require(replica == 1, "[mesh] {}: context and tensor above 1 are not yet possible",
          describe(world.size(), world.size() / replica, context, tensor));
  return world;
}

}  // namespace

// rank = (data rank x context + context rank) x tensor + tensor rank.
Mesh::Mesh(ProcessGroup world, int context, int tensor)
    : world_(checked(std::move(world), context, tensor)),
      data_(world_.split(world_.rank() % (context * tensor), world_.rank())),
      context_(world_.split(world_.rank() / (context * tensor) * tensor + world_.rank() % tensor, world_.rank())),
      tensor_(world_.split(world_.rank() / tensor, world_.rank())) {}

std::string Mesh::to_string() const { return describe(world_.size(), data_.size(), context_.size(), tensor_.size()); }

}  // namespace mudelta
