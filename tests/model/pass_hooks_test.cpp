// A pass names the units that it uses: those of other places can be taken away.

#include "model/pass_hooks.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

using ::testing::ElementsAre;

constexpr auto kPolicies = {ModelConfig::NONE, ModelConfig::FULL, ModelConfig::SELECTIVE};
constexpr int kLayers = 2, kHead = kLayers + 1;

// Takes values away, and lets gradients go nowhere, but for those of the places that a pass has come to.
class Units {
 public:
  explicit Units(SmallModel& small) : tied_(small.config.tie_embeddings()), parameters_(small.store.parameters()) {
    for (Parameter& parameter : parameters_) {
      whole_.push_back(parameter);
      parameter.value = parameter.value.clone();
      std::ranges::fill(parameter.value.span<float>(), std::numeric_limits<float>::quiet_NaN());
      parameter.gradient = Tensor::zeros(parameter.gradient.shape());
      absent_.push_back(parameter);
    }
    small.model.set_hooks({.before_forward = [this](int place) { read(place); },
                           .before_backward =
                               [this](int place) {
                                 read(place > 0 ? place : -1);
                                 for (std::size_t i = 0; i < parameters_.size(); ++i) {
                                   if (uses(place, i)) parameters_[i].gradient = whole_[i].gradient;
                                 }
                               },
                           .gradients_final =
                               [this](int unit) {
                                 final_.push_back(unit);
                                 for (std::size_t i = 0; i < parameters_.size(); ++i) {
                                   if (unit_of(i) == unit) parameters_[i].gradient = absent_[i].gradient;
                                 }
                               }});
  }

  const std::vector<Parameter>& whole() const { return whole_; }
  const std::vector<Parameter>& absent() const { return absent_; }
  const std::vector<int>& final() const { return final_; }

 private:
  int unit_of(std::size_t parameter) const { return parameters_[parameter].spec.unit; }
  bool uses(int place, std::size_t parameter) const {
    return unit_of(parameter) == place || (tied_ && place == kHead && unit_of(parameter) == 0);
  }
  void read(int place) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      parameters_[i].value = (uses(place, i) ? whole_ : absent_)[i].value;
    }
  }

  bool tied_;
  std::span<Parameter> parameters_;
  std::vector<Parameter> whole_, absent_;
  std::vector<int> final_;
};

TEST(PassHooks, NameEveryUnitThatAPassUses) {
  for (const bool tied : {true, false}) {
    for (const auto policy : kPolicies) {
      SCOPED_TRACE((tied ? "tied, " : "untied, ") + ModelConfig::Recompute_Name(policy));
      ModelConfig config = small_config();
      config.set_layers(kLayers);
      config.set_tie_embeddings(tied);
      config.set_recompute(policy);
      const SmallBatch batch = make_batch(std::vector<std::int64_t>{7, 1, 12}, config.vocab_size());
      SmallModel plain(config), hooked(config);
      Units units(hooked);

      EXPECT_TRUE(same_bits(hooked.model.losses(batch.input, batch.targets, Stream()),
                            plain.model.losses(batch.input, batch.targets, Stream())));
      DecodeState state = plain.model.make_state(3), hooked_state = hooked.model.make_state(3);
      EXPECT_TRUE(same_bits(hooked.model.logits(batch.input, &hooked_state, Stream()),
                            plain.model.logits(batch.input, &state, Stream())));
      EXPECT_TRUE(units.final().empty());

      EXPECT_TRUE(same_bits(hooked.model.losses_and_gradients(batch.input, batch.targets, 0.1, Stream()),
                            plain.model.losses_and_gradients(batch.input, batch.targets, 0.1, Stream())));
      EXPECT_THAT(units.final(), ElementsAre(kHead, 2, 1, 0));
      for (std::size_t i = 0; i < units.whole().size(); ++i) {
        const auto& [spec, part, dtype, value, gradient] = units.whole()[i];
        EXPECT_TRUE(same_bits(gradient, plain.store.parameters()[i].gradient)) << spec.name;
        EXPECT_TRUE(std::ranges::all_of(units.absent()[i].gradient.span<float>(), [](float x) { return x == 0; }))
            << spec.name << " is added to when its gradient is not open";
      }
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
