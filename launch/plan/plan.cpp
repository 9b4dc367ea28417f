#include "launch/plan/plan.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "dist/mesh.h"
#include "launch/config/run_config_validation.h"
#include "model/parameter_parts.h"

namespace mudelta {
namespace {

std::vector<std::int64_t> divisors(std::int64_t number) {
  std::vector<std::int64_t> found;
  for (std::int64_t i = 1; i * i <= number; ++i) {
    if (number % i != 0) continue;
    found.push_back(i);
    if (i != number / i) found.push_back(number / i);
  }
  std::ranges::sort(found);
  return found;
}

// Of what `train` has to say against it: nothing, if it accepts.
std::string refusal_of(const RunConfig& config, int devices) {
  try {
    validate(config, devices);
    require_parts(config.model(), config.parallel().tensor());
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

class Planner {
 public:
  explicit Planner(const PlanRequest& request)
      : request_(request), device_{request.hardware.gpu() ? DeviceType::kCuda : DeviceType::kCpu, 0} {}

  Plan run() {
    const ParallelConfig& given = request_.config.parallel();
    for (const std::int64_t tensor : choices(request_.choices.tensor, given.tensor(), request_.devices)) {
      for (const std::int64_t context : choices(request_.choices.context, given.context(), request_.devices / tensor)) {
        RunConfig config = request_.config;
        config.mutable_parallel()->set_tensor(static_cast<int>(tensor));
        config.mutable_parallel()->set_context(static_cast<int>(context));
        add_mesh(config);
      }
    }
    plan_.refusals.assign(refusals_.begin(), refusals_.end());
    std::ranges::stable_sort(plan_.fitting, {}, [](const PlannedLayout& layout) { return layout.time.total(); });
    std::ranges::stable_sort(plan_.too_large, {}, [](const PlannedLayout& layout) { return layout.memory.total(); });
    return std::move(plan_);
  }

 private:
  static std::vector<std::int64_t> choices(bool is_free, std::int64_t given, std::int64_t product) {
    return is_free ? divisors(product) : std::vector{given};
  }

  void add_mesh(const RunConfig& config) {
    RunConfig smallest = config;
    if (request_.choices.micro_batch) smallest.mutable_train()->set_micro_batch(1);
    const std::string refusal = refusal_of(smallest, request_.devices);
    if (!refusal.empty()) {
      refusals_.insert(refusal);
      return;
    }
    const MeshSizes mesh = mesh_sizes(request_.devices, config.parallel());
    std::vector<int> stages{config.parallel().zero_stage()};
    if (request_.choices.zero_stage) {
      stages = mesh.data * mesh.context == 1 ? std::vector{1} : std::vector{0, 1, 2, 3};
    }
    std::vector<ModelConfig::Recompute> recomputes{config.model().recompute()};
    if (request_.choices.recompute) recomputes = {ModelConfig::NONE, ModelConfig::SELECTIVE, ModelConfig::FULL};
    for (const int stage : stages) {
      for (const ModelConfig::Recompute recompute : recomputes) {
        RunConfig candidate = smallest;
        candidate.mutable_parallel()->set_zero_stage(stage);
        candidate.mutable_model()->set_recompute(recompute);
        if (refusal_of(candidate, request_.devices).empty()) add(std::move(candidate), mesh);
      }
    }
  }

  void add(RunConfig config, const MeshSizes& mesh) {
    if (request_.choices.micro_batch) {
      const std::vector<std::int64_t> sizes = divisors(config.train().global_batch() / mesh.data);
      const auto fits_with = [&](std::int64_t micro_batch) {
        config.mutable_train()->set_micro_batch(micro_batch);
        return fits(estimate(config, mesh)) && refusal_of(config, request_.devices).empty();
      };
      const auto too_large = std::ranges::partition_point(sizes, fits_with);
      config.mutable_train()->set_micro_batch(too_large == sizes.begin() ? 1 : *std::prev(too_large));
    }
    const MemoryEstimate memory = estimate(config, mesh);
    const StepTime time = estimate_step_time(config, request_.devices, request_.hardware);
    (fits(memory) ? plan_.fitting : plan_.too_large).push_back({std::move(config), memory, time});
  }

  MemoryEstimate estimate(const RunConfig& config, const MeshSizes& mesh) const {
    return estimate_memory(config, mesh.data, device_);
  }
  bool fits(const MemoryEstimate& memory) const { return memory.total() <= request_.memory_bytes; }

  const PlanRequest& request_;
  Device device_;
  Plan plan_;
  std::set<std::string> refusals_;
};

}  // namespace

LayoutChoices choices_left_by(const RunConfig& given) {
  return {.tensor = !given.parallel().has_tensor(),
          .context = !given.parallel().has_context(),
          .zero_stage = !given.parallel().has_zero_stage(),
          .micro_batch = !given.train().has_micro_batch(),
          .recompute = !given.model().has_recompute()};
}

Plan make_plan(const PlanRequest& request) { return Planner(request).run(); }

}  // namespace mudelta
