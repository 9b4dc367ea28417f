#pragma once

#include <functional>
#include <string_view>

#include "core/gpu.h"

namespace mudelta::simt {

// Streams of the emulated device do their work at once, on the calling host thread; a captured one
// (gpu::begin_capture) records it, to be done by gpu::launch_graph. `work` holds addresses and values, never what owns
// them: a recording must not keep alive what it uses.
void enqueue(gpu::StreamHandle stream, std::function<void()> work);

bool is_captured(gpu::StreamHandle stream);
// Throws Error if a capture is under way; `call` must not be made then.
void require_no_capture(std::string_view call);

// How many there are that were made and not yet destroyed.
struct LiveObjects {
  int streams = 0, events = 0, graphs = 0;
  friend bool operator==(const LiveObjects&, const LiveObjects&) = default;
};
LiveObjects live_objects();

}  // namespace mudelta::simt
