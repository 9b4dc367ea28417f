#include "launch/transfer/coord_check/made_up_text.h"

#include <array>
#include <cctype>
#include <cstdint>
#include <string_view>

#include "core/rng.h"

namespace mudelta {
namespace {

constexpr int kDocuments = 700, kSentences = 12, kTopicWords = 12;
constexpr int kOctaves = 11;  // of ranks: words 0, 1 to 2, 3 to 6, ...

class Dice {
 public:
  Dice(std::uint64_t seed, std::string_view name) : rng_(seed, name) {}
  std::uint64_t below(std::uint64_t sides) { return rng_.bits(next_++) % sides; }

 private:
  CounterRng rng_;
  std::uint64_t next_ = 0;
};

// Each octave is as frequent as the next: a word's frequency falls as 1 / rank.
std::string draw_word(Dice& dice) {
  constexpr std::string_view kConsonants = "bcdfghjklmnprstvwz", kVowels = "aeiou";
  const std::uint64_t octave = dice.below(kOctaves);
  const std::uint64_t rank = (1U << octave) - 1 + dice.below(1U << octave);
  Dice letters(rank, "word");
  std::string word;
  for (std::uint64_t syllable = 0; syllable <= octave / 3; ++syllable) {
    word += kConsonants[letters.below(kConsonants.size())];
    word += kVowels[letters.below(kVowels.size())];
  }
  if (letters.below(3) == 0) word += kConsonants[letters.below(kConsonants.size())];
  return word;
}

std::string draw_document(Dice& dice) {
  std::array<std::string, kTopicWords> topic;
  for (std::string& word : topic) word = draw_word(dice);
  std::string document;
  for (int sentence = 0; sentence < kSentences; ++sentence) {
    const std::uint64_t words = 6 + dice.below(10);
    for (std::uint64_t i = 0; i < words; ++i) {
      std::string word = dice.below(3) == 0 ? topic[dice.below(kTopicWords)] : draw_word(dice);
      if (i == 0) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
      document += word + (i + 1 < words ? " " : ". ");
    }
  }
  document.back() = '\n';
  return document;
}

}  // namespace

std::string made_up_text() {
  Dice dice(1, "made-up text");
  std::string text;
  for (int i = 0; i < kDocuments; ++i) text += draw_document(dice) + "\n";
  return text;
}

}  // namespace mudelta
