#include "core/parameter_store.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr std::int64_t kAlignElements = 16;                   // one cache line of float32
constexpr std::int64_t kMaxElements = std::int64_t{1} << 60;  // of one dtype

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

void check_part(const ParameterSpec& spec, const ParameterPart& part) {
  require(part.copies >= 1 && part.copy >= 0 && part.copy < part.copies,
          "[parameter_store] {}: copy {} of {}, expected one of those from 0 on", spec.name, part.copy, part.copies);
  try {
    const SliceMap map(spec.shape, part.slice);
  } catch (const Error& error) {
    fail("[parameter_store] {}: {}", spec.name, error.what());
  }
}

}  // namespace

ParameterStore::ParameterStore(std::vector<ParameterSpec> specs, DType compute_dtype, Device device, int num_shards,
                               std::vector<ParameterPart> parts)
    : num_shards_(num_shards) {
  require(num_shards >= 1, "[parameter_store] num_shards is {}, expected >= 1", num_shards);
  std::set<std::string_view> names;
  for (const ParameterSpec& spec : specs) {
    require(names.insert(spec.name).second, "[parameter_store] two parameters are named {}", spec.name);
  }
  if (parts.empty()) parts.resize(specs.size());
  require(parts.size() == specs.size(), "[parameter_store] {} parts of {} parameters", parts.size(), specs.size());
  parameters_.reserve(specs.size());
  std::vector<Shape> local_shapes;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    check_part(specs[i], parts[i]);
    parameters_.push_back({std::move(specs[i]), parts[i], {}, {}});
    local_shapes.push_back(parameters_[i].slice_map().local_shape());
  }

  std::vector<std::size_t> by_unit(parameters_.size());
  std::iota(by_unit.begin(), by_unit.end(), 0);
  std::ranges::stable_sort(by_unit, {}, [&](std::size_t i) { return parameters_[i].spec.unit; });
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    FlatGroup group{dtype, {}, {}, {}, {}};
    std::int64_t end = 0;
    const auto end_unit = [&] {
      if (group.units.empty()) return;
      end = group.units.back().end = round_up(end, kAlignElements * num_shards);
    };
    for (const std::size_t i : by_unit) {
      const ParameterSpec& spec = parameters_[i].spec;
      const std::int64_t numel = local_shapes[i].numel();
      if ((spec.keep_float32 ? DType::kFloat32 : compute_dtype) != dtype) continue;
      if (group.units.empty() || group.units.back().unit != spec.unit) {
        end_unit();
        group.units.push_back({spec.unit, end, end});
      }
      group.entries.push_back({i, end, numel});
      require(numel < kMaxElements - end, "[parameter_store] up to {} there are {} elements or more", spec.name,
              kMaxElements);
      end += round_up(numel, kAlignElements);
    }
    if (group.entries.empty()) continue;
    end_unit();
    group.values = Tensor::zeros({end}, dtype, device);
    group.gradients = Tensor::zeros({end}, DType::kFloat32, device);
    for (const FlatGroup::Entry& entry : group.entries) {
      Parameter& parameter = parameters_[entry.parameter];
      parameter.value = group.values.flat_view(entry.begin, local_shapes[entry.parameter]);
      parameter.gradient = group.gradients.flat_view(entry.begin, local_shapes[entry.parameter]);
    }
    groups_.push_back(std::move(group));
  }
}

Parameter& ParameterStore::find(std::string_view name) {
  const auto found =
      std::ranges::find(parameters_, name, [](const Parameter& p) -> std::string_view { return p.spec.name; });
  require(found != parameters_.end(), "no parameter is named {}", name);
  return *found;
}

std::int64_t ParameterStore::num_elements() const {
  std::int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.spec.shape.numel();
  return total;
}

void ParameterStore::zero_gradients() {
  for (FlatGroup& group : groups_) group.gradients.fill_zero();
}

}  // namespace mudelta
