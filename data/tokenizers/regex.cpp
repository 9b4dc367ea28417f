#include "data/tokenizers/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>

#include "core/error.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

constexpr std::size_t kFirstJitStack = 64 << 10, kLargestJitStack = 64 << 20;  // bytes

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

template <auto free>
struct Free {
  template <class T>
  void operator()(T* thing) const {
    free(thing);
  }
};
template <class T, auto free>
using Owned = std::unique_ptr<T, Free<free>>;

}  // namespace

struct Regex::Impl {
  std::string pattern;
  Owned<pcre2_code, pcre2_code_free> code;
  Owned<pcre2_match_data, pcre2_match_data_free> match_data;
  Owned<pcre2_match_context, pcre2_match_context_free> context;
  Owned<pcre2_jit_stack, pcre2_jit_stack_free> stack;
  bool has_jit = false;

  // The match from `begin` on, if there is one: its begin and end.
  const PCRE2_SIZE* find(std::string_view text, std::size_t begin, std::uint32_t options = 0) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const int found = has_jit && options == 0
                          ? pcre2_jit_match(code.get(), subject, text.size(), begin, PCRE2_NO_UTF_CHECK,
                                            match_data.get(), context.get())
                          : pcre2_match(code.get(), subject, text.size(), begin, PCRE2_NO_UTF_CHECK | options,
                                        match_data.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) return nullptr;
    require(found >= 0, "the pattern {} cannot be matched: {}", pattern, message_of(found));
    return pcre2_get_ovector_pointer(match_data.get());
  }
};

Regex::Regex(const std::string& pattern, Lines lines) : impl_(std::make_unique<Impl>()) {
  impl_->pattern = pattern;
  int error = 0;
  PCRE2_SIZE place = 0;
  const std::uint32_t options =
      PCRE2_UTF | PCRE2_UCP | (lines == Lines::kEach ? PCRE2_MULTILINE : PCRE2_DOLLAR_ENDONLY);
  impl_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &place, nullptr));
  require(impl_->code != nullptr, "the pattern {} is wrong at its character {}: {}", pattern, place, message_of(error));
  impl_->match_data.reset(pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr));
  impl_->context.reset(pcre2_match_context_create(nullptr));
  impl_->has_jit = pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE) == 0;
  if (impl_->has_jit) {
    impl_->stack.reset(pcre2_jit_stack_create(kFirstJitStack, kLargestJitStack, nullptr));
    pcre2_jit_stack_assign(impl_->context.get(), nullptr, impl_->stack.get());
  }
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

void Regex::split(std::string_view text, const std::function<void(std::string_view part, bool is_match)>& visit) const {
  std::size_t last = 0, next = 0;  // the end of what was visited; where the next match is looked for
  while (!text.empty() && next <= text.size()) {
    const PCRE2_SIZE* match = impl_->find(text, next);
    if (match == nullptr) break;
    const std::size_t begin = match[0], end = match[1];
    if (last < begin) visit(text.substr(last, begin - last), false);
    if (begin < end) visit(text.substr(begin, end - begin), true);
    last = end;
    next = begin < end ? end : end == text.size() ? end + 1 : end + utf8_length(text[end]);
  }
  if (last < text.size()) visit(text.substr(last), false);
}

bool Regex::matches_start(std::string_view text) const { return impl_->find(text, 0, PCRE2_ANCHORED) != nullptr; }

std::string quote(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = byte >= 0x80 || std::isalnum(byte) != 0;
    pattern += is_plain ? std::string(1, c) : fmt::format("\\x{{{:x}}}", byte);
  }
  return pattern;
}

}  // namespace mudelta
