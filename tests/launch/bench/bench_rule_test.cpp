#include "launch/bench/bench_rule.h"

#include <gmock/gmock.h>

#include "core/error.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(RuleShape, IsReadAsItIsWritten) {
  for (const char* text : {"8x2048,16/32,128x256", "1x1,1/1,1x1"}) EXPECT_EQ(parse_rule_shape(text).to_string(), text);
  for (const bool on_gpu : {false, true}) {
    for (const std::string& text : default_rule_shapes(on_gpu)) EXPECT_EQ(parse_rule_shape(text).to_string(), text);
  }
}

TEST(RuleShape, ListsAreCutAfterEachThirdComma) {
  EXPECT_THAT(split_rule_shapes("8x8,1/1,1x1,2x2,1/1,1x1"), ElementsAre("8x8,1/1,1x1", "2x2,1/1,1x1"));
  EXPECT_THAT(split_rule_shapes("8x8,1/1,1x1,2x2"), ElementsAre("8x8,1/1,1x1", "2x2"));
}

TEST(RuleShape, IsRefusedByName) {
  const auto message_of = [](const char* text) { return [text] { parse_rule_shape(text); }; };
  for (const char* text : {"", "8", "8x2048,16/16,128", "8x2048,16/16,128x128 ", "8x2048,16/16,128x128x2",
                           "8x8,1/1,1x9223372036854775808", "8x+8,1/1,1x1"}) {
    EXPECT_THAT(message_of(text), ThrowsMessage<Error>(HasSubstr("expected SEQUENCESxTOKENS"))) << text;
  }
  EXPECT_THAT(message_of("8x-1,1/1,1x1"), ThrowsMessage<Error>(HasSubstr("expected positive numbers")));
  EXPECT_THAT(message_of("8x8,2/3,1x1"), ThrowsMessage<Error>(HasSubstr("expected a multiple of 2")));
  EXPECT_THAT(message_of("65536x65536,1/1,1x1"), ThrowsMessage<Error>(HasSubstr("expected at most 2147483647 tokens")));
}

// Counted by hand for one token and value head; with two value heads a head, each has half of q, k and their gradients.
TEST(RuleCost, IsThatOfTheChunkwiseForm) {
  const RuleShape one = parse_rule_shape("1x1,1/1,128x128"), grouped = parse_rule_shape("1x1,1/2,128x128");
  const RuleCost forward = rule_forward_cost(one, DType::kBFloat16),
                 backward = rule_backward_cost(one, DType::kBFloat16);
  EXPECT_EQ(forward.flops, 163840);
  EXPECT_EQ(forward.bytes, 4 * 256 + 8);
  EXPECT_EQ(backward.flops, 376832 + 81920);
  EXPECT_EQ(backward.bytes, 7 * 256 + 2 * 64 + 24);
  EXPECT_EQ(rule_forward_cost(grouped, DType::kBFloat16).bytes, 2 * (3 * 256 + 8));
  EXPECT_EQ(rule_backward_cost(grouped, DType::kBFloat16).bytes, 2 * (5 * 256 + 2 * 64 + 24));
  EXPECT_EQ(rule_forward_cost(one, DType::kFloat32).bytes, 8 * 256 + 8);
  EXPECT_EQ((RuleCost{.flops = 100, .bytes = 30}.floor(50, 10)), 3);
}

}  // namespace
}  // namespace mudelta
