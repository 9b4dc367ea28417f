#include "data/tokenizers/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/data/tokenizers/small_tokenizer.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using nlohmann::json;
using testing::byte_level_json;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::metaspace_json;

using Tokens = std::vector<std::int32_t>;

std::unique_ptr<Tokenizer> make(const json& file) { return make_json_tokenizer(file.dump(), ""); }

// The tokens' texts, joined by bars.
std::string cut(const Tokenizer& tokenizer, std::string_view text) {
  std::string joined;
  for (const std::int32_t token : tokenizer.encode(text)) {
    if (!joined.empty()) joined += '|';
    joined += tokenizer.spelling_of(token);
  }
  return joined;
}

json added_token(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", false}};
}

// A byte-level tokenizer in which every letter pair that a test uses is one token, so that pieces show.
json with_pre_tokenizer(const json& pre_tokenizer) {
  json file = byte_level_json({{"a", "a"}, {"aa", "aa"}, {"b", "b"}, {"1", "1"}, {" ", "a"}, {"a", "b"}, {",", ","}});
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {pre_tokenizer,
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
  return file;
}

json split(const json& pattern, const std::string& behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

TEST(TokenizerJson, ByteLevelMergesInsideGpt2Pieces) {
  const auto tokenizer = make(byte_level_json({{"t", "h"}, {"th", "e"}, {" ", "the"}, {"e", "n"}, {"'", "s"}}));
  EXPECT_THAT(tokenizer->encode("the then's"), ElementsAre(257, 258, 'n', 260));
  EXPECT_EQ(cut(*tokenizer, "the en\n the"), "the|\u0120|en|\u010a|\u0120the");
  EXPECT_EQ(tokenizer->vocab_size(), 262);
  EXPECT_EQ(tokenizer->separator(), 261);
  EXPECT_EQ(tokenizer->spelling_of(261), "<|endoftext|>");
  EXPECT_EQ(tokenizer->text_of(261), "");
  EXPECT_EQ(tokenizer->num_bytes(261), 0);
  EXPECT_EQ(tokenizer->num_bytes(258), 4);
  EXPECT_EQ(tokenizer->decode(Tokens{261, 257, 258, 'n'}), "the then");
  EXPECT_THAT(error_of([&] { tokenizer->decode(Tokens{262}); }), HasSubstr("262"));
}

RC_GTEST_PROP(TokenizerJson, ByteLevelKeepsEveryByte, (const std::string& text)) {
  static const auto tokenizer = make(byte_level_json({{"\xc3", "\xa9"}, {"a", "b"}, {"\xff", "\xfe"}}));
  const Tokens tokens = tokenizer->encode(text);
  std::int64_t num_bytes = 0;
  for (const std::int32_t token : tokens) num_bytes += tokenizer->num_bytes(token);
  RC_ASSERT(tokenizer->decode(tokens) == text);
  RC_ASSERT(num_bytes == std::ssize(text));
}

TEST(TokenizerJson, BytesThatAreNoUtf8AreAPieceOfTheirOwn) {
  const auto tokenizer = make(byte_level_json({{"\xff", "\xfe"}, {"a", "\xff"}}));
  EXPECT_THAT(tokenizer->encode("a\xff\xfe\xc3\xa9"), ElementsAre('a', 256, 0xc3, 0xa9));
}

TEST(TokenizerJson, MergesMayBeLines) {
  json file = byte_level_json({{"t", "h"}, {"th", "e"}});
  file["model"]["merges"] = {"t h", "th e"};
  EXPECT_THAT(make(file)->encode("the"), ElementsAre(257));
}

TEST(TokenizerJson, AddedTokensComeFirst) {
  json file = byte_level_json({{"<", "|"}});
  json left = added_token(258, "<l>"), right = added_token(259, "<r>"), word = added_token(260, "word");
  left["lstrip"] = true, right["rstrip"] = true, word["single_word"] = true;
  for (const json& token :
       {left, right, word, added_token(261, "ab"), added_token(262, "abc"), added_token(300, "\u00e9t\u00e9")}) {
    file["added_tokens"].push_back(token);
  }
  const auto tokenizer = make(file);
  EXPECT_EQ(tokenizer->vocab_size(), 301);
  EXPECT_EQ(cut(*tokenizer, "x \t<l>y <r>\u3000 z"), "x|<l>|y|\u0120|<r>|z");
  EXPECT_EQ(cut(*tokenizer, "sword words word (word)"), "s|w|o|r|d|\u0120|w|o|r|d|s|\u0120|word|\u0120|(|word|)");
  EXPECT_EQ(cut(*tokenizer, "ababcab"), "ab|abc|ab") << "the longest of those that begin together";
  EXPECT_EQ(cut(*tokenizer, "<|endoftext|><|end"), "<|endoftext|>|<||e|n|d");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("\u00e9t\u00e9 ab")), "\u00e9t\u00e9 ab");
  EXPECT_EQ(tokenizer->num_bytes(258), 3);
}

TEST(TokenizerJson, NormalizedAddedTokensAreFoundInNormalizedText) {
  json file = byte_level_json({});
  file["normalizer"] = {{"type", "Lowercase"}};
  json raw = added_token(257, "Raw"), normalized = added_token(258, "Cooked");
  normalized["normalized"] = true;
  file["added_tokens"].push_back(raw);
  file["added_tokens"].push_back(normalized);
  EXPECT_EQ(cut(*make(file), "RawrawCOOKEDX"), "Raw|r|a|w|Cooked|x");
}

TEST(TokenizerJson, Normalizers) {
  const auto normalized = [](const json& normalizer, std::string_view text) {
    json file = byte_level_json({});
    file["normalizer"] = normalizer;
    const auto tokenizer = make(file);
    return tokenizer->decode(tokenizer->encode(text));
  };
  EXPECT_EQ(normalized({{"type", "NFC"}}, "e\u0301 \ufb01"), "\u00e9 \ufb01");
  EXPECT_EQ(normalized({{"type", "NFD"}}, "\u00e9"), "e\u0301");
  EXPECT_EQ(normalized({{"type", "NFKC"}}, "e\u0301 \ufb01\u00a0"), "\u00e9 fi ");
  EXPECT_EQ(normalized({{"type", "NFKD"}}, "\u00e9\ufb01"), "e\u0301fi");
  EXPECT_EQ(normalized({{"type", "Lowercase"}}, "\u00c9\u0130A"), "\u00e9i\u0307a");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "> "}}, "a"), "> a");
  const json both = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  EXPECT_EQ(normalized(both, " \u3000a b\n"), "a b");
  EXPECT_EQ(normalized(both, " \n "), "");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " a "), "a ");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}}, " a "), " a");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"String", "+."}}}, {"content", "-"}}, "a+.b++"), "a-b++");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"Regex", "x+"}}}, {"content", ""}}, "axxbx"), "ab");
  const json sequence = {{"type", "Sequence"},
                         {"normalizers", {{{"type", "Lowercase"}}, {{"type", "Prepend"}, {"prepend", "A"}}}}};
  EXPECT_EQ(normalized(sequence, "B"), "Ab");
}

TEST(TokenizerJson, BehavioursOfSplits) {
  const json comma = {{"String", ","}};
  const auto pieces = [&](const std::string& behavior, bool invert = false) {
    return cut(*make(with_pre_tokenizer(split(comma, behavior, invert))), ",aaa,,bb,");
  };
  // "aaa" is aa|a in a piece by itself; ",," is one token inside one piece only.
  EXPECT_EQ(pieces("Isolated"), ",|aa|a|,|,|bb|,");
  EXPECT_EQ(pieces("Removed"), "aa|a|bb");
  EXPECT_EQ(pieces("Contiguous"), ",|aa|a|,,|bb|,");
  EXPECT_EQ(pieces("Removed", true), ",|,|,|,");
  json merging = with_pre_tokenizer(split(comma, "MergedWithPrevious"));
  merging["model"]["merges"].push_back({",", "bb"});
  merging["model"]["merges"].push_back({"bb", ","});
  merging["model"]["vocab"][",bb"] = 300;
  merging["model"]["vocab"]["bb,"] = 301;
  EXPECT_EQ(cut(*make(merging), "aa,,bb,"), "aa|,|,|bb,");
  merging["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "MergedWithNext";
  EXPECT_EQ(cut(*make(merging), "aa,,bb,"), "aa|,|,bb|,");
}

TEST(TokenizerJson, DigitsAndPatterns) {
  EXPECT_EQ(cut(*make(with_pre_tokenizer({{"type", "Digits"}, {"individual_digits", true}})), "a1111a"), "a|1|1|1|1|a");
  EXPECT_EQ(cut(*make(with_pre_tokenizer({{"type", "Digits"}, {"individual_digits", false}})), "a1111a"), "a|11|11|a");
  const json llama3 = {
      {"Regex",
       "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
       "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}};
  EXPECT_EQ(cut(*make(with_pre_tokenizer(split(llama3, "Isolated"))), "aaaa 11111 a"), "aaaa|\u0120|11|1|11|\u0120a");
}

TEST(TokenizerJson, PrefixSpaceIsPutBeforeEveryTextBetweenAddedTokens) {
  json file = byte_level_json({{" ", "a"}});
  file["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(cut(*make(file), "a<|endoftext|>a<|endoftext|> a"), "\u0120a|<|endoftext|>|\u0120a|<|endoftext|>|\u0120a");
}

TEST(TokenizerJson, Metaspace) {
  json file = metaspace_json({"\u2581", "a", "b", "\u2581a", "\u2581b"}, {{"\u2581", "a"}, {"\u2581", "b"}}, true);
  const auto tokenizer = make(file);
  EXPECT_EQ(tokenizer->spelling_of(tokenizer->separator()), "</s>");
  EXPECT_EQ(cut(*tokenizer, "a  b\u00e9"), "\u2581a|\u2581|\u2581b|<0xC3>|<0xA9>");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a  b\u00e9")), "a  b\u00e9");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("  a")), " a") << "the first sign is dropped, and no other";
  EXPECT_EQ(cut(*tokenizer, "a\xff"), "\u2581a|<0xEF>|<0xBF>|<0xBD>");
  file["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_EQ(cut(*make(file), "a b"), "a|\u2581b");
  file["pre_tokenizer"]["prepend_scheme"] = "first";
  file["added_tokens"].push_back(added_token(300, "<x>"));
  EXPECT_EQ(cut(*make(file), "a<x>a"), "\u2581a|<x>|a");
}

TEST(TokenizerJson, DecodersOfSentencePieceKinds) {
  json file = metaspace_json({"\u2581", "a", "\u2581a"}, {{"\u2581", "a"}}, false);
  file["pre_tokenizer"] = nullptr;
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers",
                         {{{"type", "Prepend"}, {"prepend", "\u2581"}},
                          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}};
  file["decoder"] = {{"type", "Sequence"},
                     {"decoders",
                      {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                       {{"type", "ByteFallback"}},
                       {{"type", "Fuse"}},
                       {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  const auto tokenizer = make(file);
  EXPECT_EQ(cut(*tokenizer, "a a?"), "\u2581a|\u2581a|<unk>");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" a a")), " a a");
}

TEST(TokenizerJson, TheSeparatorIsChosen) {
  EXPECT_EQ(make_json_tokenizer(byte_level_json({}).dump(), "a")->separator(), 'a');
  EXPECT_THAT(error_of([] { make_json_tokenizer(byte_level_json({}).dump(), "<eos>"); }), HasSubstr("<eos>"));
  json file = byte_level_json({});
  file["added_tokens"] = json::array();
  EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("<|endoftext|>, <|end_of_text|>"));
}

TEST(TokenizerJson, WhatIsNotSupportedIsRefusedByName) {
  struct Case {
    const char* pointer;
    json value;
    std::vector<std::string> told;
  };
  const json unknown = {{"type", "Mystery"}};
  const Case cases[] = {
      {"/surprise", 1, {"surprise", "not supported"}},
      {"/truncation", {{"max_length", 5}}, {"truncation", "expected null"}},
      {"/padding", true, {"padding"}},
      {"/normalizer", unknown, {"normalizer.type", "Mystery", "NFC"}},
      {"/normalizer", {{"type", "NFC"}, {"extra", 1}}, {"normalizer.extra"}},
      {"/normalizer", {{"type", "Sequence"}, {"normalizers", {unknown}}}, {"normalizer.normalizers[0].type"}},
      {"/pre_tokenizer", unknown, {"pre_tokenizer.type", "Mystery", "Split"}},
      {"/pre_tokenizer", nullptr, {"ByteLevel"}},
      {"/pre_tokenizer/use_regex", "yes", {"pre_tokenizer.use_regex", "true or false"}},
      {"/pre_tokenizer", split({{"Regex", "("}}, "Isolated"), {"pre_tokenizer.pattern.Regex", "("}},
      {"/pre_tokenizer", split({{"Regex", "\\p{N}{1,3}+"}}, "Isolated"), {"interval"}},
      {"/pre_tokenizer", split({{"Regex", "a"}}, "Melted"), {"Melted", "Isolated"}},
      {"/post_processor", unknown, {"post_processor.type", "Mystery"}},
      {"/decoder", unknown, {"decoder.type", "Mystery"}},
      {"/decoder", nullptr, {"decoder", "null"}},
      {"/decoder", {{"type", "Fuse"}}, {"ByteLevel"}},
      {"/model/type", "Unigram", {"model.type", "Unigram"}},
      {"/model/dropout", 0.1, {"model.dropout", "0.1"}},
      {"/model/end_of_word_suffix", "</w>", {"model.end_of_word_suffix"}},
      {"/model/unk_token", "<unk>", {"model.unk_token", "<unk>"}},
      {"/model/byte_fallback", true, {"byte_fallback"}},
      {"/model/vocab", json::array(), {"model.vocab"}},
      {"/model/vocab/a", -1, {"model.vocab.a", "-1"}},
      {"/model/vocab/a", 98, {"98", "\"a\"", "\"b\""}},
      {"/model/vocab/a", 1 << 30, {"model.vocab.a"}},
      {"/model/merges/0", "ab", {"model.merges[0]"}},
      {"/model/merges/0", {"a", "zz"}, {"model.merges[0]", "\"zz\""}},
      {"/model/merges/0", {"b", "b"}, {"\"bb\""}},
      {"/model/surprise", 1, {"model.surprise"}},
      {"/added_tokens/0/id", 5, {"added_tokens", "<|endoftext|>", "5"}},
      {"/added_tokens/0/content", "", {"added_tokens[0].content"}},
      {"/added_tokens/0/surprise", 1, {"added_tokens[0].surprise"}},
  };
  for (const Case& c : cases) {
    json file = byte_level_json({{"a", "b"}});
    file[json::json_pointer(c.pointer)] = c.value;
    const std::string told = error_of([&] { make(file); });
    for (const std::string& part : c.told) EXPECT_THAT(told, HasSubstr(part)) << c.pointer;
  }
  EXPECT_THAT(error_of([] { make_json_tokenizer("{", ""); }), HasSubstr("parse error"));
  EXPECT_THAT(error_of([] { make_json_tokenizer("[]", ""); }), HasSubstr("expected an object"));
}

TEST(TokenizerJson, PostProcessorsAreKnownThoughNotAskedFor) {
  json file = byte_level_json({});
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json begin = {{"SpecialToken", {{"id", "<|endoftext|>"}, {"type_id", 0}}}};
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {begin, text}},
                            {"pair", json::array()},
                            {"special_tokens", json::object()}};
  EXPECT_THAT(make(file)->encode("a"), ElementsAre('a'));
  file["post_processor"]["single"] = {begin};
  EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("post_processor.single"));
}

}  // namespace
}  // namespace mudelta
