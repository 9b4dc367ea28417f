#include "launch/plan/step_time.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "launch/bench/bench_rule.h"
#include "launch/plan/local_shape.h"
#include "launch/train/step_traffic.h"
#include "launch/train/stored_model.h"
#include "launch/train/unit_elements.h"
#include "model/block.h"
#include "model/parameters.h"
#include "optim/newton_schulz.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

struct PassTime {
  double forward = 0, backward = 0;
};

// Bytes that operations on rows read and write in a forward pass through a block, a token.
double row_bytes(const Block::Sizes& s, DType dtype) {
  const double width = static_cast<double>(s.mixer.width), hidden = static_cast<double>(s.mlp.hidden);
  const double keys = static_cast<double>(s.mixer.keys()), values = static_cast<double>(s.mixer.values());
  const double norms = 2 * (4 * width);  // of the float32 residual stream
  // normalised rows; convolutions of q, k and v; gated norm of o; gate times up
  const double others = 2 * width + 2 * (2 * keys + values) + 3 * values + 3 * hidden;
  return norms + static_cast<double>(size_of(dtype)) * others;
}

PassTime block_time(const RunConfig& config, const LocalShape& local, const Hardware& hardware) {
  const ModelConfig& model = config.model();
  const DType dtype = compute_dtype(config.train());
  const double matrix = matrix_rate(hardware, dtype), memory = memory_rate(hardware);
  const auto tokens = static_cast<double>(local.tokens);
  const Block::Sizes s = Block::part_sizes(model, local.mesh.tensor);
  const RuleShape rule{local.sequences,  local.tokens / local.sequences,
                       s.mixer.heads,    s.mixer.value_heads,
                       s.mixer.head_dim, s.mixer.value_dim};

  const double products = tokens * Block::flops(s).matrices / matrix;
  const double rows = tokens * row_bytes(s, dtype) / memory;
  const double rule_forward = rule_forward_cost(rule, dtype).floor(matrix, memory) * hardware.rule_forward();
  const double rule_backward = rule_backward_cost(rule, dtype).floor(matrix, memory) * hardware.rule_backward();
  PassTime time{.forward = products + rows + rule_forward, .backward = 2 * products + 2 * rows + rule_backward};
  if (local.mesh.context > 1) {  // what a part does to the state, before the states of others are known
    time.forward += rule_forward;
    time.backward += rule_forward;
  }
  if (model.recompute() == ModelConfig::SELECTIVE) time.backward += rows + rule_forward;
  if (model.recompute() == ModelConfig::FULL) time.backward += time.forward;
  return time;
}

PassTime pass_time(const RunConfig& config, const LocalShape& local, const Hardware& hardware) {
  const ModelConfig& model = config.model();
  const auto tokens = static_cast<double>(local.tokens), layers = static_cast<double>(model.layers());
  const double vocab = static_cast<double>(model.vocab_size()) / local.mesh.tensor;
  const double readout =
      tokens * 2 * static_cast<double>(model.width()) * vocab / matrix_rate(hardware, compute_dtype(config.train()));
  const double logits = tokens * vocab * 4 * sizeof(float) / memory_rate(hardware);  // read and written twice
  const double accumulation = local.elements * 2 * sizeof(float) / memory_rate(hardware);
  const PassTime block = block_time(config, local, hardware);
  return {.forward = hardware.step() * (layers * block.forward),
          .backward = hardware.step() * (layers * block.backward + 3 * readout + logits + accumulation)};
}

// Of Muon: each matrix on its owner.
double orthogonalize_time(const RunConfig& config, const MeshSizes& mesh, const Hardware& hardware) {
  if (kind_of(config.optimizer()) != OptimizerKind::kMuon) return 0;
  const MuonConfig& muon = config.optimizer().muon();
  ModelConfig one_block = config.model();
  one_block.set_layers(1);
  double flops = 0;
  for (const ParameterSpec& spec : parameter_specs(one_block)) {
    if (spec.role == Role::kHidden) flops += orthogonalize_flops(spec.shape[0], spec.shape[1], muon);
  }
  const DType dtype = muon.orthogonalize_dtype() == MuonConfig::BFLOAT16 ? DType::kBFloat16 : DType::kFloat32;
  const int ranks = mesh.data * mesh.context * mesh.tensor;
  return static_cast<double>(config.model().layers()) * flops / ranks / matrix_rate(hardware, dtype);
}

double update_time(const RunConfig& config, const LocalShape& local, const Hardware& hardware) {
  const int gradient_ranks = local.mesh.data * local.mesh.context;
  const double owned =
      zero_stage(config.parallel(), gradient_ranks) == 0 ? local.elements : local.elements / gradient_ranks;
  const UnitElements units = unit_elements(config.model(), DType::kFloat32, {});
  const double states = num_state_elements(units.all(), config.optimizer()) / units.all().count();
  // The norm and the update each read the gradient; states and master are read and written; the value is written.
  const double bytes_owned = 2 * 4 + 8 * states + 8 + static_cast<double>(size_of(compute_dtype(config.train())));
  const double zeroed = local.elements * 4;
  return hardware.step() * (owned * bytes_owned + zeroed) / memory_rate(hardware) +
         orthogonalize_time(config, local.mesh, hardware);
}

// Between neighbouring members of the group.
int stride_of(Axis axis, const MeshSizes& mesh) {
  return axis == Axis::kTensor || axis == Axis::kWorld ? 1 : mesh.tensor;
}

// Of one call. A ring over nodes leaves each by as many links as the group has members there.
double seconds_of(const Collective& collective, const MeshSizes& mesh, const Hardware& hardware) {
  const int ranks = collective.ranks, stride = stride_of(collective.axis, mesh);
  const int members = std::clamp(hardware.devices_per_node() / stride, 1, ranks);
  double bytes_per_second = INFINITY, latency = 0;
  const auto add_link = [&](bool has_link, const char* name, const Hardware::Link& link, double links,
                            double doublings) {
    require(has_link, "hardware \"{}\" has no {}: needed for {} {} ranks, {} of them on a node", hardware.name(), name,
            ranks, name_of(collective.axis), members);
    bytes_per_second = std::min(bytes_per_second, links * link.gb_per_second() * 1e9);
    latency += std::ceil(doublings) * link.latency_microseconds() * 1e-6;
  };
  if (members > 1) {
    add_link(hardware.has_within_node(), "within_node", hardware.within_node(), 1, std::log2(members));
  }
  if (ranks > members) {
    add_link(hardware.has_between_nodes(), "between_nodes", hardware.between_nodes(), members,
             std::log2(static_cast<double>(ranks) / members));
  }
  return latency + collective.sent_bytes() / bytes_per_second;
}

// The rest of a transfer that runs beside `work`; a first or last piece runs beside nothing.
double exposed_part(double seconds, double work, double pieces) { return std::max(seconds / pieces, seconds - work); }

}  // namespace

StepTime estimate_step_time(const RunConfig& config, int devices, const Hardware& hardware) {
  const LocalShape local = local_shape(config, devices);
  const PassTime pass = pass_time(config, local, hardware);
  StepTime time{.compute = static_cast<double>(local.micro_batches) * (pass.forward + pass.backward),
                .update = update_time(config, local, hardware)};
  const double pieces = static_cast<double>(config.model().layers()) + 2;  // units
  for (const Collective& collective : step_traffic(config, local.mesh, local.mesh.tensor - 1)) {
    const double seconds = seconds_of(collective, local.mesh, hardware);
    double exposed = seconds;
    if (hardware.gpu()) {
      if (collective.beside == Beside::kForward) exposed = exposed_part(seconds, pass.forward, pieces);
      if (collective.beside == Beside::kBackward) exposed = exposed_part(seconds, pass.backward, pieces);
      if (collective.beside == Beside::kUpdate) exposed = exposed_part(seconds, time.update, pieces);
    }
    time.communication += collective.calls * seconds;
    time.exposed += collective.calls * exposed;
  }
  return time;
}

}  // namespace mudelta
