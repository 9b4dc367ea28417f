#include "data/tokenizers/sentencepiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tokenizers/sentencepiece.pb.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using File = SentencePieceFile;

// <unk> 0, </s> 1, and then what is added.
File small_model(File::Trainer::ModelType type) {
  File file;
  const auto add = [&](const char* text, File::Piece::Type piece_type) {
    auto& piece = *file.add_pieces();
    piece.set_piece(text);
    piece.set_type(piece_type);
  };
  add("<unk>", File::Piece::UNKNOWN);
  add("</s>", File::Piece::CONTROL);
  file.mutable_trainer_spec()->set_model_type(type);
  return file;
}

int add(File& file, const std::string& text, float score, File::Piece::Type type = File::Piece::NORMAL) {
  auto& piece = *file.add_pieces();
  piece.set_piece(text);
  piece.set_score(score);
  piece.set_type(type);
  return file.pieces_size() - 1;
}

std::unique_ptr<Tokenizer> make(const File& file) { return make_sentencepiece_tokenizer(file.SerializeAsString(), ""); }

TEST(SentencePiece, UnigramTakesThePiecesOfTheLargestSum) {
  File file = small_model(File::Trainer::UNIGRAM);
  const int space = add(file, "\u2581", -5), a = add(file, "a", -3), b = add(file, "b", -3), ab = add(file, "ab", -5),
            sa = add(file, "\u2581a", -4), bc = add(file, "bc", -1.5f);
  const auto tokenizer = make(file);
  EXPECT_EQ(tokenizer->separator(), 1);
  EXPECT_EQ(tokenizer->vocab_size(), file.pieces_size());
  EXPECT_THAT(tokenizer->encode("ab"), ElementsAre(sa, b));
  EXPECT_THAT(tokenizer->encode("abc"), ElementsAre(sa, bc));
  EXPECT_THAT(tokenizer->encode("bab"), ElementsAre(space, b, ab)) << "-5 is more than -3 - 3";
  EXPECT_THAT(tokenizer->encode("axxb"), ElementsAre(sa, 0, b)) << "what is unknown is one token";
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
  EXPECT_EQ(tokenizer->decode(std::vector{1, sa, b, space, a, 1}), "ab a");
  EXPECT_EQ(tokenizer->decode(std::vector{sa, 0}), "a \u2047 ");
  EXPECT_EQ(tokenizer->text_of(sa), " a");
  EXPECT_EQ(tokenizer->spelling_of(sa), "\u2581a");
}

TEST(SentencePiece, BpeMergesTheLargestScoreFirst) {
  File file = small_model(File::Trainer::BPE);
  file.mutable_normalizer_spec()->set_add_dummy_prefix(false);
  const int ab = add(file, "ab", -1), bc = add(file, "bc", 0), a = add(file, "a", -10), c = add(file, "c", -10),
            abab = add(file, "abab", -3);
  const auto tokenizer = make(file);
  EXPECT_THAT(tokenizer->encode("abc"), ElementsAre(a, bc));
  EXPECT_THAT(tokenizer->encode("abab"), ElementsAre(abab));
  EXPECT_THAT(tokenizer->encode("ababc"), ElementsAre(ab, a, bc));
  EXPECT_THAT(tokenizer->encode("cb"), ElementsAre(c, 0)) << "b is no piece by itself";
}

TEST(SentencePiece, UnusedPiecesAreCutAgain) {
  File file = small_model(File::Trainer::BPE);
  file.mutable_normalizer_spec()->set_add_dummy_prefix(false);
  const int a = add(file, "a", -10), b = add(file, "b", -10);
  add(file, "ab", -1, File::Piece::UNUSED);
  const int abb = add(file, "abb", -2);
  EXPECT_THAT(make(file)->encode("ab"), ElementsAre(a, b));
  EXPECT_THAT(make(file)->encode("abb"), ElementsAre(abb));
}

TEST(SentencePiece, BytesStandForWhatIsUnknown) {
  for (const auto type : {File::Trainer::UNIGRAM, File::Trainer::BPE}) {
    File file = small_model(type);
    file.mutable_trainer_spec()->set_byte_fallback(true);
    file.mutable_normalizer_spec()->set_remove_extra_whitespaces(false);
    const int space = add(file, "\u2581", -1);
    EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("<0x00>"));
    for (int byte = 0; byte < 256; ++byte) add(file, fmt::format("<0x{:02X}>", byte), 0, File::Piece::BYTE);
    const auto tokenizer = make(file);
    EXPECT_THAT(tokenizer->encode("\u00e9 "), ElementsAre(space, space + 1 + 0xc3, space + 1 + 0xa9, space));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(" \u00e9 ")), " \u00e9 ");
    EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xff")), "a\ufffd");
  }
}

TEST(SentencePiece, UserDefinedPiecesAreNeverCut) {
  for (const auto type : {File::Trainer::UNIGRAM, File::Trainer::BPE}) {
    File file = small_model(type);
    const int word = add(file, "a-b", 0, File::Piece::USER_DEFINED), space = add(file, "\u2581", -1),
              a = add(file, "a", -1), b = add(file, "b", -1);
    // Of a larger score; but the scores of Unigram count user-defined pieces as others.
    if (type == File::Trainer::BPE) add(file, "aa-b", 0);
    EXPECT_THAT(make(file)->encode("aa-b b"), ElementsAre(space, a, word, space, b)) << type;
  }
}

TEST(SentencePiece, SpacesAndCharactersAreReplaced) {
  File file = small_model(File::Trainer::UNIGRAM);
  const int space = add(file, "\u2581", -1), a = add(file, "a", -1);
  EXPECT_THAT(make(file)->encode("  a   a  "), ElementsAre(space, a, space, a));
  auto& normalizer = *file.mutable_normalizer_spec();
  normalizer.set_remove_extra_whitespaces(false);
  EXPECT_THAT(make(file)->encode(" a  a"), ElementsAre(space, space, a, space, space, a));
  normalizer.set_add_dummy_prefix(false);
  EXPECT_THAT(make(file)->encode("a "), ElementsAre(a, space));
  // A table with one entry, from A to a: the root's children are at 1 ^ byte, those of A, of which one is a leaf, at 2.
  std::vector<std::uint32_t> units(0x80, 0xff);
  units[0] = 1u << 10;
  units[1 ^ 'A'] = 2u << 10 | 1u << 8 | 'A';
  units[1 ^ 'A' ^ 2] = 1u << 31;
  const auto num_bytes = static_cast<std::uint32_t>(units.size() * sizeof(units[0]));
  std::string table(reinterpret_cast<const char*>(&num_bytes), sizeof(num_bytes));
  table.append(reinterpret_cast<const char*>(units.data()), num_bytes);
  normalizer.set_precompiled_charsmap(table + std::string("a\0", 2));
  EXPECT_THAT(make(file)->encode("AaB"), ElementsAre(a, a, 0));
  normalizer.set_precompiled_charsmap(table);
  EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("precompiled_charsmap"));
}

TEST(SentencePiece, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_THAT(error_of([] { make(small_model(File::Trainer::WORD)); }), HasSubstr("model_type is WORD"));
  File file = small_model(File::Trainer::BPE);
  file.mutable_trainer_spec()->set_treat_whitespace_as_suffix(true);
  EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("treat_whitespace_as_suffix"));
  file = small_model(File::Trainer::BPE);
  file.mutable_pieces(0)->set_type(File::Piece::NORMAL);
  EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("UNKNOWN"));
  add(file, "", 0);
  EXPECT_THAT(error_of([&] { make(file); }), HasSubstr("pieces[2] is empty"));
  EXPECT_THAT(error_of([] { make_sentencepiece_tokenizer("\n\xff", ""); }), HasSubstr("no SentencePiece model"));
}

TEST(SentencePiece, IsFoundByItsContent) {
  const testing::TemporaryFolder folder;
  File file = small_model(File::Trainer::BPE);
  add(file, "a", 0);
  testing::write_file(folder / "any.name", file.SerializeAsString());
  const StoredTokenizer opened = open_tokenizer((folder / "any.name").string());
  EXPECT_EQ(opened.id.kind, "sentencepiece");
  opened.save(folder.path());
  EXPECT_EQ(load_tokenizer(folder.path(), opened.id).id, opened.id);
}

}  // namespace
}  // namespace mudelta
