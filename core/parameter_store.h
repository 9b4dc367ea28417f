#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/parameter.h"

namespace mudelta {

// This rank's parts of the parameters of one dtype, unit after unit, back to back as in one flat buffer, and float32
// gradients in the same layout. Communication and optimizer shards are ranges of it; they need not respect parameter
// boundaries.
struct FlatGroup {
  struct Entry {
    std::size_t parameter;  // index into ParameterStore::parameters()
    std::int64_t begin;     // first element in the flat buffers
    std::int64_t numel;     // of this rank's part
  };
  // Elements [begin, end), padding included.
  struct Unit {
    int unit;
    std::int64_t begin, end;
    Tensor values,
        gradients;  // [end - begin]: parts of those below, or lent by ParameterStore::lend_...; may be absent
  };
  DType dtype = DType::kFloat32;
  std::int64_t numel = 0;      // padding included
  Tensor values;               // [numel], or absent
  Tensor gradients;            // [numel] float32, or absent
  std::vector<Entry> entries;  // in the order of `begin`; of a unit, those whose gradients are partial come last
  std::vector<Unit> units;     // those with parameters of this dtype, rising
};

// What a store has for all parameters, all the time. Of the rest, units have what they are lent.
struct WholeBuffers {
  bool values = true;
  bool gradients = true;
  friend bool operator==(const WholeBuffers&, const WholeBuffers&) = default;
};

// Owns the layout, and the storage, of a rank's parts of a model's parameters. Each unit is padded with zeros to a
// multiple of `num_shards` x 16 elements, so that it can be cut evenly over the ranks that hold the same parts.
class ParameterStore {
 public:
  // `parts`: one for each spec, or none: all of every parameter.
  // Throws Error if two specs share a name, if a part is not one of its parameter, or if the elements are too many to
  // be counted.
  ParameterStore(std::vector<ParameterSpec> specs, DType compute_dtype, Device device, int num_shards,
                 std::vector<ParameterPart> parts = {}, WholeBuffers whole = {});
  ParameterStore(ParameterStore&&) = default;

  std::span<Parameter> parameters() { return parameters_; }
  std::span<const Parameter> parameters() const { return parameters_; }
  Parameter& find(std::string_view name);  // throws Error if there is none
  std::span<FlatGroup> groups() { return groups_; }
  int num_shards() const { return num_shards_; }
  Device device() const { return device_; }
  WholeBuffers whole() const { return whole_; }

  // From now on the parameters of groups()[group].units[unit] have their values, or gradients (float32), in `buffer`,
  // [end - begin]; or none if that is undefined.
  void lend_values(std::size_t group, std::size_t unit, const Tensor& buffer);
  void lend_gradients(std::size_t group, std::size_t unit, const Tensor& buffer);

  std::int64_t num_elements() const;  // of the whole model, whatever part of it this rank holds
  void zero_gradients();              // of whole buffers

 private:
  void lay_out(DType dtype);
  void lend(const FlatGroup& group, const FlatGroup::Unit& unit, const Tensor& buffer, Tensor Parameter::*tensor);

  Device device_;
  int num_shards_;
  WholeBuffers whole_;
  std::vector<Parameter> parameters_;
  std::vector<FlatGroup> groups_;
};

}  // namespace mudelta
