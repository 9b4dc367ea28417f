#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/json_object.h"

namespace mudelta {

// Cuts a text into pieces, none of them empty, that become tokens each by itself; may change them, too. For one thread.
class PreTokenizer {
 public:
  // starts_text: nothing stands before the piece in the text that is encoded.
  using Visit = std::function<void(std::string_view piece, bool starts_text)>;

  virtual ~PreTokenizer() = default;
  virtual void split(std::string_view text, bool starts_text, const Visit& visit) const = 0;
};

struct PreTokenizers {
  std::vector<std::unique_ptr<PreTokenizer>> chain;  // each cuts the pieces of the one before
  bool byte_level = false;                           // the vocabulary spells bytes (data/tokenizers/byte_level.h)

  // Calls visit(piece, starts_text) for each piece that comes out of the chain.
  void split(std::string_view text, bool starts_text, const PreTokenizer::Visit& visit) const;
};

// Those of a tokenizer.json; none of null. Throws Error, naming the place, on one that is unknown, has a field that is,
// or stands behind ByteLevel.
PreTokenizers read_pre_tokenizers(const Json& json, const std::string& where);

// How Metaspace puts its sign before a text.
enum class PrependScheme { kNever, kFirst, kAlways };
PrependScheme read_prepend_scheme(const JsonObject& metaspace);

}  // namespace mudelta
