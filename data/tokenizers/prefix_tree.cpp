#include "data/tokenizers/prefix_tree.h"

#include <algorithm>

namespace mudelta {
namespace {

constexpr auto kByte = &std::pair<char, std::uint32_t>::first;

}  // namespace

void PrefixTree::insert(std::string_view text, std::int32_t value) {
  std::size_t node = 0;
  for (const char byte : text) {
    std::size_t child = next(node, byte);
    if (child == kNone) {
      child = nodes_.size();
      auto& children = nodes_[node].children;
      children.insert(std::ranges::lower_bound(children, byte, {}, kByte), {byte, static_cast<std::uint32_t>(child)});
      nodes_.emplace_back();
    }
    node = child;
  }
  nodes_[node].value = value;
}

std::string PrefixTree::first_bytes() const {
  std::string bytes;
  for (const auto& [byte, child] : nodes_.front().children) bytes += byte;
  return bytes;
}

std::size_t PrefixTree::next(std::size_t node, char byte) const {
  const auto& children = nodes_[node].children;
  const auto child = std::ranges::lower_bound(children, byte, {}, kByte);
  return child != children.end() && child->first == byte ? child->second : kNone;
}

}  // namespace mudelta
