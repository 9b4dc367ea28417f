#include "model/parameters.h"

#include <fmt/format.h>

#include <charconv>

#include "model/block.h"
#include "model/spec_list.h"

namespace mudelta {
namespace {

constexpr std::string_view kLayers = "model.layers.";

}  // namespace

std::string layer_prefix(int layer) { return fmt::format("{}{}.", kLayers, layer); }

ParameterPlace place_of(std::string_view parameter) {
  if (!parameter.starts_with(kLayers)) return {.name = parameter};
  const std::size_t dot = parameter.find('.', kLayers.size());
  ParameterPlace place{.name = parameter.substr(dot + 1)};
  std::from_chars(parameter.data() + kLayers.size(), parameter.data() + dot, place.layer);
  return place;
}

std::vector<ParameterSpec> parameter_specs(const ModelConfig& c) {
  SpecList specs(c);
  specs.matrix("model.embeddings.weight", Role::kEmbedding, c.vocab_size(), c.width(), 0);
  for (int layer = 0; layer < c.layers(); ++layer) {
    specs.next_unit(/*is_block=*/true);
    Block::add_specs(c, layer_prefix(layer), specs);
  }
  specs.next_unit(/*is_block=*/false);
  Norm::add_specs("model.norm.weight", c.width(), specs);
  if (!c.tie_embeddings()) specs.matrix("lm_head.weight", Role::kReadout, c.vocab_size(), c.width(), 0);
  return specs.take();
}

}  // namespace mudelta
