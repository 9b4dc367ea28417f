#include "data/tokenizers/post_processor.h"

#include <algorithm>

namespace mudelta {

void check_post_processor(const Json& json, const std::string& where) {
  if (json.is_null()) return;
  const JsonObject object(json, where);
  const std::string type = object.type();
  if (type == "Sequence") {
    const std::string parts = object.where("processors");
    std::size_t index = 0;
    for (const Json& part : require_array(object.field("processors"), parts)) {
      check_post_processor(part, element_of(parts, index++));
    }
    object.refuse_others();
  } else if (type == "TemplateProcessing") {
    const Json& pieces = require_array(object.field("single"), object.where("single"));
    const auto texts = std::ranges::count_if(pieces, [](const Json& piece) { return piece.contains("Sequence"); });
    require(texts == 1, "{} is {}, expected the text once", object.where("single"), shown(pieces));
  } else {
    require(type == "ByteLevel",
            "{} is \"{}\": this post-processor is not supported (ByteLevel, TemplateProcessing and Sequence are)",
            object.where("type"), type);
  }
}

}  // namespace mudelta
