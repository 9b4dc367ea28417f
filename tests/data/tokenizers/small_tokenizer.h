#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizers/byte_level.h"

namespace mudelta::testing {

// A byte-level tokenizer.json: the ids of single bytes are their numbers, then come the merges, in their order, then
// <|endoftext|>. Merges are pairs of byte strings.
inline nlohmann::json byte_level_json(const std::vector<std::pair<std::string, std::string>>& merges) {
  nlohmann::json vocabulary = nlohmann::json::object(), pairs = nlohmann::json::array();
  for (int byte = 0; byte < 256; ++byte) vocabulary[spell_bytes(std::string(1, static_cast<char>(byte)))] = byte;
  for (const auto& [left, right] : merges) {
    const auto id = static_cast<int>(vocabulary.size());
    vocabulary.emplace(spell_bytes(left + right), id);
    pairs.push_back({spell_bytes(left), spell_bytes(right)});
  }
  const auto end_of_text = static_cast<int>(vocabulary.size());
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {{{"id", end_of_text},
             {"content", "<|endoftext|>"},
             {"single_word", false},
             {"lstrip", false},
             {"rstrip", false},
             {"normalized", false},
             {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary},
            {"merges", pairs}}}};
}

// A Metaspace tokenizer.json of the given tokens (ids in order), each a merge of the first pair of tokens that makes
// it, with <unk> 0 and </s> 1, and with tokens of all bytes behind them where `byte_fallback`.
inline nlohmann::json metaspace_json(const std::vector<std::string>& tokens,
                                     const std::vector<std::pair<std::string, std::string>>& merges,
                                     bool byte_fallback) {
  nlohmann::json json = byte_level_json({});
  nlohmann::json vocabulary = {{"<unk>", 0}, {"</s>", 1}};
  for (const std::string& token : tokens) vocabulary.emplace(token, static_cast<int>(vocabulary.size()));
  for (int byte = 0; byte_fallback && byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    vocabulary.emplace(name, static_cast<int>(vocabulary.size()));
  }
  json["added_tokens"] = nlohmann::json::array();
  const nlohmann::json metaspace = {
      {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}, {"split", true}};
  json["pre_tokenizer"] = metaspace;
  json["decoder"] = {{"type", "Sequence"}, {"decoders", {metaspace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
  json["model"]["vocab"] = vocabulary;
  json["model"]["merges"] = nlohmann::json::array();
  for (const auto& [left, right] : merges) json["model"]["merges"].push_back({left, right});
  json["model"]["unk_token"] = "<unk>";
  json["model"]["byte_fallback"] = byte_fallback;
  return json;
}

}  // namespace mudelta::testing
