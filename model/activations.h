#pragma once

#include <glog/logging.h>

#include <any>
#include <utility>
#include <vector>

namespace mudelta {

// What a forward pass keeps for its backward pass: a stack of the layers' own structs of tensors. Backward visits the
// layers in reverse and pops what each pushed, so memory is freed as soon as it has been used.
class Activations {
 public:
  enum class Mode { kKeep, kDiscard };  // kDiscard: no backward pass will follow

  explicit Activations(Mode mode = Mode::kKeep) : mode_(mode) {}

  bool keeps() const { return mode_ == Mode::kKeep; }

  template <class Saved>
  void push(Saved saved) {
    if (keeps()) stack_.emplace_back(std::move(saved));
  }

  // The last thing pushed, which must be a `Saved`.
  template <class Saved>
  Saved pop() {
    CHECK(!stack_.empty()) << "backward pops more than forward pushed";
    Saved* top = std::any_cast<Saved>(&stack_.back());
    CHECK(top != nullptr) << "backward does not visit the layers in the reverse order of forward";
    Saved saved = std::move(*top);
    stack_.pop_back();
    return saved;
  }

  bool empty() const { return stack_.empty(); }

 private:
  Mode mode_;
  std::vector<std::any> stack_;
};

}  // namespace mudelta
