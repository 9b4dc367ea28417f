#include "core/parameter_store.h"

#include <algorithm>
#include <set>
#include <utility>

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
                               std::vector<ParameterPart> parts, WholeBuffers whole)
    : device_(device), num_shards_(num_shards), whole_(whole) {
  require(num_shards >= 1, "[parameter_store] num_shards is {}, expected >= 1", num_shards);
  std::set<std::string_view> names;
  for (const ParameterSpec& spec : specs) {
    require(names.insert(spec.name).second, "[parameter_store] two parameters are named {}", spec.name);
  }
  if (parts.empty()) parts.resize(specs.size());
  require(parts.size() == specs.size(), "[parameter_store] {} parts of {} parameters", parts.size(), specs.size());
  parameters_.reserve(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    check_part(specs[i], parts[i]);
    const DType dtype = specs[i].keep_float32 ? DType::kFloat32 : compute_dtype;
    parameters_.push_back({std::move(specs[i]), parts[i], dtype, {}, {}});
  }
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) lay_out(dtype);
}

void ParameterStore::lay_out(DType dtype) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].dtype == dtype) order.push_back(i);
  }
  if (order.empty()) return;
  std::ranges::stable_sort(order, {}, [&](std::size_t i) {
    const ParameterPart& part = parameters_[i].part;
    return std::pair(parameters_[i].spec.unit, part.is_partial ? part.copies : 0);
  });

  FlatGroup group{.dtype = dtype};
  std::int64_t end = 0;
  const auto end_unit = [&] {
    if (!group.units.empty()) end = group.units.back().end = round_up(end, kAlignElements * num_shards_);
  };
  for (const std::size_t i : order) {
    const ParameterSpec& spec = parameters_[i].spec;
    if (group.units.empty() || group.units.back().unit != spec.unit) {
      end_unit();
      group.units.push_back({spec.unit, end, end, {}, {}});
    }
    const std::int64_t numel = parameters_[i].slice_map().numel();
    group.entries.push_back({i, end, numel});
    require(numel < kMaxElements - end, "[parameter_store] up to {} there are {} elements or more", spec.name,
            kMaxElements);
    end += round_up(numel, kAlignElements);
  }
  end_unit();
  group.numel = end;
  if (whole_.values) group.values = Tensor::zeros({end}, dtype, device_);
  if (whole_.gradients) group.gradients = Tensor::zeros({end}, DType::kFloat32, device_);
  groups_.push_back(std::move(group));
  const FlatGroup& made = groups_.back();
  for (std::size_t i = 0; i < made.units.size(); ++i) {
    const auto& [unit, begin, unit_end, values, gradients] = made.units[i];
    if (whole_.values) lend_values(groups_.size() - 1, i, made.values.slice(begin, unit_end));
    if (whole_.gradients) lend_gradients(groups_.size() - 1, i, made.gradients.slice(begin, unit_end));
  }
}

void ParameterStore::lend_values(std::size_t group, std::size_t unit, const Tensor& buffer) {
  FlatGroup& flat = groups_[group];
  flat.units[unit].values = buffer;
  lend(flat, flat.units[unit], buffer, &Parameter::value);
}

void ParameterStore::lend_gradients(std::size_t group, std::size_t unit, const Tensor& buffer) {
  FlatGroup& flat = groups_[group];
  flat.units[unit].gradients = buffer;
  lend(flat, flat.units[unit], buffer, &Parameter::gradient);
}

void ParameterStore::lend(const FlatGroup& group, const FlatGroup::Unit& unit, const Tensor& buffer,
                          Tensor Parameter::*tensor) {
  const auto unit_of = [&](const FlatGroup::Entry& entry) { return parameters_[entry.parameter].spec.unit; };
  for (const FlatGroup::Entry& entry : std::ranges::equal_range(group.entries, unit.unit, {}, unit_of)) {
    Parameter& parameter = parameters_[entry.parameter];
    parameter.*tensor = buffer ? buffer.flat_view(entry.begin - unit.begin, parameter.local_shape()) : Tensor();
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
  if (!whole_.gradients) return;
  for (const FlatGroup& group : groups_) group.gradients.fill_zero();
}

}  // namespace mudelta
