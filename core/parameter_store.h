#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/parameter.h"

namespace mudelta {

// This rank's parts of the parameters of one dtype, unit after unit, back to back in one flat buffer, with a flat
// float32 gradient buffer of the same layout. Communication and optimizer shards are ranges of these buffers; they need
// not respect parameter boundaries.
struct FlatGroup {
  struct Entry {
    std::size_t parameter;  // index into ParameterStore::parameters()
    std::int64_t begin;     // first element in the flat buffers
    std::int64_t numel;     // of this rank's part
  };
  // Where a unit's parameters lie, padding included.
  struct Unit {
    int unit;
    std::int64_t begin, end;
  };
  DType dtype;
  Tensor values;               // [padded_numel]
  Tensor gradients;            // [padded_numel] float32
  std::vector<Entry> entries;  // in the order of `begin`
  std::vector<Unit> units;     // those with parameters of this dtype, rising
};

// Owns the storage of a rank's parts of a model's parameters. Each unit is padded with zeros to a multiple of
// `num_shards` x 16 elements, so that it can be cut evenly over the ranks that hold the same parts.
class ParameterStore {
 public:
  // `parts`: one for each spec, or none: all of every parameter.
  // Throws Error if two specs share a name, if a part is not one of its parameter, or if the elements are too many to
  // be counted.
  ParameterStore(std::vector<ParameterSpec> specs, DType compute_dtype, Device device, int num_shards,
                 std::vector<ParameterPart> parts = {});
  ParameterStore(ParameterStore&&) = default;

  std::span<Parameter> parameters() { return parameters_; }
  std::span<const Parameter> parameters() const { return parameters_; }
  Parameter& find(std::string_view name);  // throws Error if there is none
  std::span<FlatGroup> groups() { return groups_; }
  int num_shards() const { return num_shards_; }

  std::int64_t num_elements() const;  // of the whole model, whatever part of it this rank holds
  void zero_gradients();

 private:
  int num_shards_;
  std::vector<Parameter> parameters_;
  std::vector<FlatGroup> groups_;
};

}  // namespace mudelta
