#include "launch/train/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/files/append.h"
#include "core/host_name.h"

namespace mudelta {
namespace {

using tensorboard::Event;

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? 0x82f63b78u : 0);
    table[byte] = rest;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kTable = make_table();

template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// As the format has it: so that the checksum of data which holds checksums is of use.
std::string masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return bytes_of<std::uint32_t>(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Event event_of(std::int64_t step, double wall_time) {
  Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  return event;
}

void add(Event& event, const std::string& tag, double value) {
  tensorboard::Summary::Value& entry = *event.mutable_summary()->add_value();
  entry.set_tag(tag);
  entry.set_simple_value(static_cast<float>(value));
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& folder, std::int64_t last_step) {
  const double now = seconds_since_1970();
  for (int number = 0; file_ < 0; ++number) {
    path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<std::int64_t>(now), host_name(),
                                 ::getpid(), number);
    file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    require(file_ >= 0 || errno == EEXIST, "cannot write {}: {}", path_.string(), std::strerror(errno));
  }
  Event version = event_of(0, now);
  version.set_file_version("brain.Event:2");
  append(version);
  if (last_step > 0) {
    Event start = event_of(last_step + 1, now);
    start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
    append(start);
  }
}

EventFile::~EventFile() {
  if (file_ >= 0) ::close(file_);
}

void EventFile::write(const StepMetrics& metrics) {
  Event event = event_of(metrics.step, metrics.time);
  add(event, "train/loss", metrics.loss);
  add(event, "train/lr", metrics.lr);
  add(event, "train/grad_norm", metrics.grad_norm);
  add(event, "train/skipped", metrics.skipped ? 1 : 0);
  add(event, "train/clipped", metrics.clipped ? 1 : 0);
  add(event, "train/tokens", static_cast<double>(metrics.tokens));
  add(event, "speed/tokens_per_second", metrics.tokens_per_second);
  add(event, "speed/mfu", metrics.mfu);
  add(event, "speed/memory", static_cast<double>(metrics.memory));
  add(event, "seconds/data", metrics.seconds.data);
  add(event, "seconds/forward_backward", metrics.seconds.forward_backward);
  add(event, "seconds/communication", metrics.seconds.communication);
  add(event, "seconds/update", metrics.seconds.update);
  for (const RoleNorms& norms : metrics.norms) {
    add(event, fmt::format("gradient_norm/{}", name_of(norms.role)), norms.gradient);
    add(event, fmt::format("weight_norm/{}", name_of(norms.role)), norms.weight);
  }
  for (const SourceProgress& source : metrics.sources) {
    add(event, fmt::format("share/{}", source.name), source.share);
    add(event, fmt::format("epochs/{}", source.name), source.epochs);
  }
  append(event);
}

void EventFile::write(const EvalMetrics& metrics) {
  Event event = event_of(metrics.step, seconds_since_1970());
  add(event, "eval/loss", metrics.loss);
  add(event, "eval/bits_per_byte", metrics.bits_per_byte);
  add(event, "seconds/eval", metrics.seconds);
  for (const auto& [name, loss] : metrics.source_losses) add(event, fmt::format("eval_loss/{}", name), loss);
  append(event);
}

void EventFile::write(const CheckpointMetrics& metrics) {
  Event event = event_of(metrics.step, seconds_since_1970());
  add(event, "seconds/checkpoint", metrics.seconds);
  append(event);
}

void EventFile::write(const RollbackMetrics& metrics) {
  Event event = event_of(metrics.step, seconds_since_1970());
  add(event, "train/rolled_back_from", static_cast<double>(metrics.bad_step));
  append(event);
}

// A record: the length and its checksum, the event and its checksum.
void EventFile::append(const Event& event) {
  const std::string data = event.SerializeAsString(), length = bytes_of<std::uint64_t>(data.size());
  const std::string record = length + masked_crc(length) + data + masked_crc(data);
  append_whole(file_, path_, record);
}

}  // namespace mudelta
