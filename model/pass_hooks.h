#pragma once

#include <functional>

namespace mudelta {

// Told, as a pass comes to them, of its places: 0, the embedding; layer + 1, a block; layers + 1, the head. A place
// uses the parameters of the unit of its number (ParameterSpec::unit); the head of a tied model uses unit 0 as well.
struct PassHooks {
  using Hook = std::function<void(int place)>;
  static void nothing(int /*place*/) {}

  // From here to the next call the pass reads the values of the place's units.
  Hook before_forward = nothing;
  // So it does, and adds to their gradients; place 0 reads no values.
  Hook before_backward = nothing;
  // The pass adds no more to the gradients of the unit of that number. Falling numbers, each once.
  Hook gradients_final = nothing;
};

}  // namespace mudelta
