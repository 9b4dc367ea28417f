#include "simt/device_memory.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "simt/poison.h"

namespace mudelta::simt {
namespace {

constexpr std::int64_t kDeviceBytes = std::int64_t{2} << 30;
constexpr std::int64_t kAlignment = 256;

struct sigaction previous_handler;

// A host access to device memory ends here, since no one has opened it.
void stop_host_access(int signal, siginfo_t* info, void*) {
  if (is_device_memory(info->si_addr)) {
    constexpr std::string_view kMessage = "host code touched emulated device memory\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
    std::abort();
  }
  sigaction(signal, &previous_handler, nullptr);  // the access is repeated and meets whoever was there before
}

class Arena {
 public:
  Arena() {
    void* memory = mmap(nullptr, kDeviceBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(memory != MAP_FAILED, "no address space for emulated device memory");
    memory_ = {static_cast<std::byte*>(memory), kDeviceBytes};
    poison_for_sanitizer(memory, kDeviceBytes);
    free_[0] = kDeviceBytes;
    live_bytes_.resize(kDeviceBytes / kAlignment);
  }

  const DeviceMemory& memory() const { return memory_; }

  void* allocate(std::int64_t num_bytes) {
    const std::lock_guard lock(mutex_);
    const std::int64_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::int64_t taken = rounded + 2 * kAlignment;  // with a gap on either side
    const auto found = std::ranges::find_if(free_, [&](const auto& range) { return range.second >= taken; });
    if (num_bytes > kDeviceBytes || found == free_.end()) return nullptr;
    const auto [offset, size] = *found;
    free_.erase(found);
    if (size > taken) free_[offset + taken] = size - taken;
    const std::int64_t begin = offset + kAlignment;
    live_[begin] = num_bytes;
    mark(begin, num_bytes, true);
    used_bytes_ = std::max(used_bytes_, offset + taken);
    unpoison_for_sanitizer(memory_.begin + begin, num_bytes);
    protect_pages(begin, begin + num_bytes, PROT_READ | PROT_WRITE);
    std::memset(memory_.begin + begin, kPoisonByte, static_cast<std::size_t>(num_bytes));
    if (num_open_ == 0) protect_pages(begin, begin + num_bytes, PROT_NONE);
    return memory_.begin + begin;
  }

  void release(void* allocation) {
    if (allocation == nullptr) return;
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(static_cast<std::byte*>(allocation) - memory_.begin);
    require(found != live_.end(), "{} is no allocation of emulated device memory", allocation);
    const auto [begin, num_bytes] = *found;
    live_.erase(found);
    const std::int64_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    mark(begin, num_bytes, false);
    poison_for_sanitizer(allocation, num_bytes);
    auto range = free_.emplace(begin - kAlignment, rounded + 2 * kAlignment).first;
    if (const auto next = std::next(range); next != free_.end() && range->first + range->second == next->first) {
      range->second += next->second;
      free_.erase(next);
    }
    if (range != free_.begin()) {
      const auto before = std::prev(range);
      if (before->first + before->second == range->first) {
        before->second += range->second;
        free_.erase(range);
      }
    }
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (num_open_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--num_open_ == 0) protect(PROT_NONE);
  }

  bool is_live(std::int64_t begin, std::int64_t end) const {
    std::int64_t granule = begin / kAlignment;
    for (; (granule + 1) * kAlignment < end; ++granule) {
      if (live_bytes_[static_cast<std::size_t>(granule)] < kAlignment) return false;
    }
    return end <= granule * kAlignment + live_bytes_[static_cast<std::size_t>(granule)];
  }

  std::string describe(const void* address) {
    const std::lock_guard lock(mutex_);
    const std::int64_t offset = static_cast<const std::byte*>(address) - memory_.begin;
    const auto next = live_.upper_bound(offset);
    if (next == live_.begin()) return "unallocated device memory";
    const auto [begin, num_bytes] = *std::prev(next);
    return fmt::format("byte {} of a device allocation of {} bytes", offset - begin, num_bytes);
  }

 private:
  void mark(std::int64_t begin, std::int64_t num_bytes, bool live) {
    for (std::int64_t done = 0; done < num_bytes; done += kAlignment) {
      const std::int64_t bytes = live ? std::min(num_bytes - done, kAlignment) : 0;
      live_bytes_[static_cast<std::size_t>((begin + done) / kAlignment)] = static_cast<std::uint16_t>(bytes);
    }
  }
  // Memory that was never allocated stays closed.
  void protect(int protection) { protect_pages(0, used_bytes_, protection); }
  void protect_pages(std::int64_t begin, std::int64_t end, int protection) {
    static const std::int64_t page = sysconf(_SC_PAGESIZE);
    begin = begin / page * page;
    const int status = mprotect(memory_.begin + begin, static_cast<std::size_t>(end - begin), protection);
    require(status == 0, "mprotect of emulated device memory failed: {}", std::strerror(errno));
  }

  std::mutex mutex_;
  DeviceMemory memory_{};
  std::map<std::int64_t, std::int64_t> free_;  // offset -> bytes, gaps included
  std::map<std::int64_t, std::int64_t> live_;  // offset -> bytes asked for
  std::vector<std::uint16_t> live_bytes_;      // at the start of each kAlignment bytes
  std::int64_t used_bytes_ = 0;                // all allocations so far lie below
  int num_open_ = 0;
};

Arena* make_arena() {
  auto* made = new Arena;
  struct sigaction handler {};
  handler.sa_sigaction = stop_host_access;
  handler.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &handler, &previous_handler);
  return made;
}

// Never destroyed: tensors with static lifetime may be freed after it would have been.
Arena& arena() {
  static Arena* const instance = make_arena();
  return *instance;
}

}  // namespace

const DeviceMemory& device_memory() { return arena().memory(); }

DeviceMemoryAccess::DeviceMemoryAccess() { arena().open(); }
DeviceMemoryAccess::~DeviceMemoryAccess() { arena().close(); }

void* allocate_device_memory(std::int64_t num_bytes) { return arena().allocate(num_bytes); }
void free_device_memory(void* memory) { arena().release(memory); }

bool is_device_memory(const void* memory) {
  const auto offset =
      reinterpret_cast<std::uintptr_t>(memory) - reinterpret_cast<std::uintptr_t>(device_memory().begin);
  return offset < static_cast<std::uintptr_t>(device_memory().num_bytes);
}

bool is_allocated(const void* memory, std::int64_t num_bytes) {
  if (!is_device_memory(memory)) return false;
  const std::int64_t begin = static_cast<const std::byte*>(memory) - device_memory().begin;
  return begin + num_bytes <= kDeviceBytes && arena().is_live(begin, begin + num_bytes);
}

std::string describe_device_address(const void* memory) { return arena().describe(memory); }

}  // namespace mudelta::simt
