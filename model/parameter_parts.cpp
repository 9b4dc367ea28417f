#include "model/parameter_parts.h"

#include "core/error.h"
#include "model/mixer.h"

namespace mudelta {
namespace {

ParameterPart part_of(const ParameterSpec& spec, const TensorPlace& place) {
  const auto& [rank, ranks, cuts_rows] = place;
  if (spec.shard_dim < 0) {
    const bool is_partial = spec.meets == ParameterSpec::Meets::kHeads || cuts_rows;
    return {.slice = {}, .copies = ranks, .copy = rank, .is_partial = ranks > 1 && is_partial};
  }
  const std::int64_t pieces = spec.shape[spec.shard_dim] / spec.shard_unit;
  const int copies = pieces < ranks ? static_cast<int>(ranks / pieces) : 1;
  const std::int64_t owners = ranks / copies, owner = rank / copies;
  return {.slice = {.dim = spec.shard_dim,
                    .begin = pieces * owner / owners * spec.shard_unit,
                    .end = pieces * (owner + 1) / owners * spec.shard_unit},
          .copies = copies,
          .copy = rank % copies,
          .is_partial = copies > 1};
}

void require_share(std::string_view field, std::int64_t value, int ranks) {
  require(value >= ranks, "model.{} is {}: expected at least parallel.tensor, {}", field, value, ranks);
}

}  // namespace

void require_parts(const ModelConfig& c, int ranks) {
  Mixer::part_sizes(c, ranks);
  require_share("vocab_size", c.vocab_size(), ranks);
  require_share("mlp_size", c.mlp_size(), ranks);
}

std::vector<ParameterPart> parameter_parts(std::span<const ParameterSpec> specs, const TensorPlace& place) {
  std::vector<ParameterPart> parts;
  if (place.ranks == 1) return parts;
  for (const ParameterSpec& spec : specs) parts.push_back(part_of(spec, place));
  return parts;
}

}  // namespace mudelta
