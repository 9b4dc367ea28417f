// Streams, events and graphs of the emulated device.

#include "simt/stream.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "core/error.h"

namespace mudelta {
namespace {

using Clock = std::chrono::steady_clock;

// Counts the objects of a kind.
template <class Kind>
struct Counted {
  Counted() { ++live; }
  ~Counted() { --live; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  static inline std::atomic<int> live = 0;
};

// Has no state of its own: all its work is done, or part of the capture.
struct EmulatedStream : Counted<EmulatedStream> {};

struct Event : Counted<Event> {
  Clock::time_point recorded;
};

using Work = std::vector<std::function<void()>>;

struct Recording : Counted<Recording> {
  explicit Recording(Work recorded) : work(std::move(recorded)) {}
  Work work;
};

// Work is recorded in the order of the host's calls, which is one that the streams' dependencies allow.
struct Capture {
  gpu::StreamHandle origin;
  std::set<gpu::StreamHandle> streams;   // the captured ones
  std::set<gpu::StreamHandle> unjoined;  // those with work that no captured stream has waited for
  Work work;
};

std::unique_ptr<Capture> capture;

std::unique_ptr<Capture> finish_capture(gpu::StreamHandle stream) {
  require(capture && capture->origin == stream, "no capture of this stream has begun");
  return std::exchange(capture, nullptr);
}

}  // namespace

namespace simt {

bool is_captured(gpu::StreamHandle stream) { return capture && capture->streams.contains(stream); }

void enqueue(gpu::StreamHandle stream, std::function<void()> work) {
  if (!is_captured(stream)) return work();
  if (stream != capture->origin) capture->unjoined.insert(stream);
  capture->work.push_back(std::move(work));
}

LiveObjects live_objects() {
  return {.streams = Counted<EmulatedStream>::live, .events = Counted<Event>::live, .graphs = Counted<Recording>::live};
}

void require_no_capture(std::string_view call) {
  require(!capture, "{} was called during a capture, which does not allow it", call);
}

}  // namespace simt

namespace gpu {

StreamHandle compute_stream() {
  static char stream;
  return &stream;
}

StreamHandle create_stream() { return new EmulatedStream; }
void destroy_stream(StreamHandle stream) { delete static_cast<EmulatedStream*>(stream); }

void synchronize(StreamHandle) { simt::require_no_capture("synchronize"); }

void wait_for_stream(StreamHandle waiting, StreamHandle awaited) {
  if (simt::is_captured(awaited)) {
    capture->streams.insert(waiting);
    capture->unjoined.erase(awaited);
    if (waiting != capture->origin) capture->unjoined.insert(waiting);
  } else {
    require(!simt::is_captured(waiting), "a captured stream was told to wait for one that is not captured");
  }
}

EventHandle create_event() { return new Event; }
void destroy_event(EventHandle event) { delete static_cast<Event*>(event); }
void record(EventHandle event, StreamHandle) {
  simt::require_no_capture("record");
  static_cast<Event*>(event)->recorded = Clock::now();
}
void synchronize_event(EventHandle) { simt::require_no_capture("synchronize_event"); }
float elapsed_ms(EventHandle begin, EventHandle end) {
  const auto elapsed = static_cast<Event*>(end)->recorded - static_cast<Event*>(begin)->recorded;
  return std::chrono::duration<float, std::milli>(elapsed).count();
}

void begin_capture(StreamHandle stream) {
  simt::require_no_capture("begin_capture");
  capture = std::make_unique<Capture>(Capture{.origin = stream, .streams = {stream}});
}

GraphHandle end_capture(StreamHandle stream) {
  const auto ended = finish_capture(stream);
  require(ended->unjoined.empty(), "a capture ended with {} streams that its own stream has not waited for",
          ended->unjoined.size());
  return new Recording(std::move(ended->work));
}

void cancel_capture(StreamHandle stream) { finish_capture(stream); }

void launch_graph(GraphHandle graph, StreamHandle) {
  simt::require_no_capture("launch_graph");
  for (const auto& work : static_cast<Recording*>(graph)->work) work();
}

void destroy_graph(GraphHandle graph) { delete static_cast<Recording*>(graph); }

}  // namespace gpu
}  // namespace mudelta
