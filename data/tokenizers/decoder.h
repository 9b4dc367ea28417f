#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/tokenizers/json_object.h"

namespace mudelta {

// How the spellings of tokens become text again.
class Decoder {
 public:
  // The decoder of a tokenizer.json. Throws Error, naming the place, on one that is unknown, has a field that is, or
  // is null, as spaces would then stand between the tokens.
  Decoder(const Json& json, const std::string& where);

  bool byte_level() const { return byte_level_; }
  std::string text_of(std::string spelling) const;        // in the middle of a text
  std::string first_text_of(std::string spelling) const;  // at the start of one
  // Takes away what a text's ends have too much.
  void trim(std::string& text) const;

 private:
  using Step = std::function<void(std::string&)>;

  void read(const Json& json, const std::string& where);
  void read_one(const JsonObject& object);
  void add(const Step& step);
  void add(const Step& step, const Step& of_first);
  Step read_strip(const JsonObject& object) const;

  std::vector<Step> of_token_, of_first_token_, of_text_;
  bool byte_level_ = false, fused_ = false;
};

}  // namespace mudelta
