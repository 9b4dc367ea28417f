#include "launch/commands/choice_task.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/json.h"

namespace mudelta {
namespace {

using nlohmann::json;

const json& field(const json& object, const char* name) {
  const auto found = object.find(name);
  require(found != object.end(), "it has no field \"{}\"", name);
  return *found;
}

std::string text(const json& value, const char* what) {
  require(value.is_string(), "its {} is {}, expected a text", what, value.type_name());
  return value.get<std::string>();
}

std::vector<std::string> texts(const json& value, const char* what) {
  require(value.is_array() && !value.empty(), "its {} are {}, expected texts", what,
          value.is_array() ? "none" : value.type_name());
  std::vector<std::string> all;
  for (const json& each : value) all.push_back(text(each, what));
  return all;
}

// Of an answer as a number, perhaps written as a text.
std::size_t number(const json& value, std::size_t choices) {
  const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
  for (std::size_t i = 0; i < choices; ++i) {
    if (shown == std::to_string(i)) return i;
  }
  fail("its answer is {}, expected a number below {}", shown, choices);
}

std::size_t place_of(const std::string& label, const std::vector<std::string>& labels) {
  const auto found = std::ranges::find(labels, label);
  require(found != labels.end(), "its answer is {}, expected one of {}", label, fmt::join(labels, ", "));
  return static_cast<std::size_t>(found - labels.begin());
}

std::vector<std::string> after_a_space(std::vector<std::string> choices) {
  for (std::string& choice : choices) choice.insert(0, 1, ' ');
  return choices;
}

ChoiceItem arc_item(const json& object) {
  const json& question = field(object, "question");
  std::vector<std::string> choices, labels;
  std::string stem;
  if (question.is_object()) {
    stem = text(field(question, "stem"), "question");
    for (const json& choice : field(question, "choices")) {
      choices.push_back(text(field(choice, "text"), "choices"));
      labels.push_back(text(field(choice, "label"), "labels"));
    }
  } else {
    stem = text(question, "question");
    const json& all = field(object, "choices");
    choices = texts(field(all, "text"), "choices");
    labels = texts(field(all, "label"), "labels");
  }
  require(!choices.empty() && choices.size() == labels.size(), "it has {} choices and {} labels", choices.size(),
          labels.size());
  return {fmt::format("Question: {}\nAnswer:", stem), after_a_space(choices),
          place_of(text(field(object, "answerKey"), "answerKey"), labels)};
}

ChoiceItem last_word_item(const json& object) {
  const std::string all = text(field(object, "text"), "text");
  const std::size_t space = all.rfind(' ');
  require(space != all.npos && space > 0 && space + 1 < all.size(), "its text is \"{}\", expected a word after a space",
          all);
  return {all.substr(0, space), {all.substr(space)}, 0};
}

ChoiceItem item_of(const json& object) {
  require(object.is_object(), "it is {}, expected an object", object.type_name());
  if (object.contains("question")) return arc_item(object);
  ChoiceItem item;
  if (object.contains("endings")) {
    item = {text(field(object, "ctx"), "ctx"), after_a_space(texts(field(object, "endings"), "endings"))};
    item.answer = number(field(object, "label"), item.choices.size());
    return item;
  }
  if (object.contains("choices")) {
    item = {text(field(object, "context"), "context"), texts(field(object, "choices"), "choices")};
    item.answer = number(field(object, "answer"), item.choices.size());
    return item;
  }
  require(object.contains("text"), "it has none of the fields question, endings, choices and text");
  return last_word_item(object);
}

}  // namespace

std::vector<ChoiceItem> read_choice_items(const std::filesystem::path& path) {
  const std::string content = FileReader(path).text();
  std::vector<ChoiceItem> items;
  std::string_view rest = content;
  for (std::int64_t line = 1; !rest.empty(); ++line) {
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(text.size() + 1, rest.size()));
    if (text.find_first_not_of(" \t\r") == text.npos) continue;
    try {
      items.push_back(item_of(parse_json<json>(text)));
      for (const std::string& choice : items.back().choices)
        require(length_of(choice) > 0, "one of its choices is empty");
    } catch (const Error& error) {
      fail("{}:{}: {}", path.string(), line, error.what());
    }
  }
  require(!items.empty(), "{} holds no item", path.string());
  return items;
}

ScoredTokens tokens_of(const ChoiceItem& item, std::size_t choice, const Tokenizer& tokenizer, std::int64_t window) {
  const std::vector<std::int32_t> context = tokenizer.encode(item.context),
                                  whole = tokenizer.encode(item.context + item.choices[choice]);
  const auto differ = std::ranges::mismatch(context, whole).in2;
  const auto own = whole.end() - std::min(differ, whole.end() - 1);  // at least its last token
  require(own <= window, "a choice has {} tokens, expected at most {} (--sequence-length): \"{}\"", own, window,
          item.choices[choice]);
  ScoredTokens scored{.tokens = {tokenizer.separator()}};
  scored.tokens.insert(scored.tokens.end(), whole.begin(), whole.end());
  const auto surplus = std::max<std::int64_t>(std::ssize(scored.tokens) - window - 1, 0);
  scored.tokens.erase(scored.tokens.begin(), scored.tokens.begin() + surplus);
  scored.first = std::ssize(scored.tokens) - own;
  return scored;
}

std::int64_t length_of(const std::string& choice) {
  const std::size_t begin = choice.starts_with(' ') ? 1 : 0;
  return std::count_if(choice.begin() + static_cast<std::ptrdiff_t>(begin), choice.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace mudelta
