#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mudelta {

// Texts with a value each, found as prefixes of other texts. Values are >= 0.
class PrefixTree {
 public:
  PrefixTree() : nodes_(1) {}

  // Replaces the value of a text that is there. `text` must not be empty.
  void insert(std::string_view text, std::int32_t value);

  // Calls visit(length, value) for each text that `text` begins with, the shortest first.
  template <class Visit>
  void visit_prefixes(std::string_view text, Visit&& visit) const {
    std::size_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = next(node, text[i]);
      if (node == kNone) return;
      if (nodes_[node].value >= 0) visit(i + 1, nodes_[node].value);
    }
  }

  struct Match {
    std::size_t length = 0;
    std::int32_t value = -1;  // -1: no text was found
  };
  Match longest_prefix(std::string_view text) const {
    Match longest;
    visit_prefixes(text, [&](std::size_t length, std::int32_t value) { longest = {length, value}; });
    return longest;
  }

  std::string first_bytes() const;  // of all texts

 private:
  static constexpr std::size_t kNone = 0;  // the root is no one's child

  struct Node {
    std::vector<std::pair<char, std::uint32_t>> children;  // by their byte
    std::int32_t value = -1;
  };

  std::size_t next(std::size_t node, char byte) const;

  std::vector<Node> nodes_;
};

}  // namespace mudelta
