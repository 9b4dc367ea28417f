#include "launch/plan/hardware.h"

#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/require_range.h"
#include "launch/config/config_text.h"

namespace mudelta {
namespace {

// NVIDIA's data sheet of the SXM part: 989 teraFLOP/s in bfloat16, 67 in float32, 3.35 TB/s, NVLink 450 GB/s and
// InfiniBand NDR 50 GB/s each way. The shares of it that a step reaches are assumptions; rule_* are those of an H200 at
// these rates (docs/results/gpu).
constexpr const char* kH100 = R"(
name: "h100"
memory_gib: 80
float32_tflops: 50
bfloat16_tflops: 640
memory_gb_per_second: 2800
rule_forward: 2.9
rule_backward: 4.1
within_node { gb_per_second: 350 latency_microseconds: 6 }
between_nodes { gb_per_second: 42 latency_microseconds: 12 }
)";

void validate_link(const std::string& field, const Hardware::Link& link) {
  require_positive(field + ".gb_per_second", link.gb_per_second());
  require_not_negative(field + ".latency_microseconds", link.latency_microseconds());
}

}  // namespace

Hardware load_hardware(const std::string& name_or_file) {
  Hardware hardware;
  std::error_code error;
  if (name_or_file == "h100") {
    parse_text(kH100, name_or_file, hardware);
  } else {
    require(std::filesystem::is_regular_file(name_or_file, error),
            "--hardware is {}: expected h100, measured, or a file (--print-hardware writes one)", name_or_file);
    parse_text(read_file(name_or_file), name_or_file, hardware);
  }
  validate(hardware);
  return hardware;
}

void validate(const Hardware& h) {
  require_positive("memory_gib", h.memory_gib());
  require_at_least("devices_per_node", h.devices_per_node(), 1);
  require_positive("float32_tflops", h.float32_tflops());
  require_positive("bfloat16_tflops", h.bfloat16_tflops());
  require_positive("memory_gb_per_second", h.memory_gb_per_second());
  require_positive("rule_forward", h.rule_forward());
  require_positive("rule_backward", h.rule_backward());
  require_positive("step", h.step());
  if (h.has_within_node()) validate_link("within_node", h.within_node());
  if (h.has_between_nodes()) validate_link("between_nodes", h.between_nodes());
}

double matrix_rate(const Hardware& hardware, DType compute_dtype) {
  return 1e12 * (compute_dtype == DType::kBFloat16 ? hardware.bfloat16_tflops() : hardware.float32_tflops());
}

}  // namespace mudelta
