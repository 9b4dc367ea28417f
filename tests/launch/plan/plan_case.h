#pragma once

#include "launch/config/run_config.h"
#include "launch/plan/hardware.h"
#include "model/config.h"

namespace mudelta::testing {

// A complete configuration of a small model: 2 key heads, 4 value heads.
inline RunConfig small_run() {
  RunConfig config;
  ModelConfig& model = *config.mutable_model();
  model.set_width(64);
  model.set_layers(3);
  model.set_heads(2);
  model.set_value_heads(4);
  model.set_head_dim(16);
  model.set_expand_v(1);
  model.set_vocab_size(100);
  model = resolve(model);
  config.mutable_train()->set_global_batch(8);
  config.mutable_train()->set_sequence_length(128);
  config.mutable_data()->set_path("none");
  return with_defaults(config);
}

// Of round numbers, two devices a node.
inline Hardware round_hardware() {
  Hardware hardware;
  hardware.set_name("round");
  hardware.set_gpu(false);
  hardware.set_memory_gib(1);
  hardware.set_devices_per_node(2);
  hardware.set_float32_tflops(0.001);
  hardware.set_bfloat16_tflops(0.002);
  hardware.set_memory_gb_per_second(1);
  hardware.mutable_within_node()->set_gb_per_second(1);
  hardware.mutable_within_node()->set_latency_microseconds(10);
  hardware.mutable_between_nodes()->set_gb_per_second(0.1);
  hardware.mutable_between_nodes()->set_latency_microseconds(100);
  return hardware;
}

}  // namespace mudelta::testing
