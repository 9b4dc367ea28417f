#include "data/text/text_reader.h"

#include <gmock/gmock.h>

#include "tests/data/text/packed.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using testing::gzip_of;
using ::testing::HasSubstr;
using testing::write_file;
using testing::zstd_of;

std::string read_all(const std::filesystem::path& path) {
  TextReader reader(path);
  std::string text;
  for (auto block = reader.next(); !block.empty(); block = reader.next()) {
    const bool is_last = text.size() % FileReader::kBlockBytes != 0;
    EXPECT_FALSE(is_last) << "only the last block is shorter";
    text += block;
  }
  EXPECT_EQ(reader.bytes_read(), reader.file().num_bytes());
  EXPECT_TRUE(reader.next().empty());
  return text;
}

// Neither repetitive, so that it stays longer than a block when packed, nor without any pattern.
std::string long_text(std::size_t size) {
  std::string text;
  for (std::uint64_t x = 1; text.size() < size; x = x * 6364136223846793005u + 1442695040888963407u) {
    text += std::to_string(x >> 11) + "\n";
  }
  text.resize(size);
  return text;
}

TEST(TextReader, UnpacksByTheFirstBytes) {
  const testing::TemporaryFolder folder;
  for (const std::size_t size : {0, 1, 5, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20}) {
    const std::string text = long_text(size);
    EXPECT_EQ(read_all(write_file(folder / "a", text)), text) << size;
    EXPECT_EQ(read_all(write_file(folder / "a", gzip_of(text))), text) << size;
    EXPECT_EQ(read_all(write_file(folder / "a", zstd_of(text))), text) << size;
  }
}

TEST(TextReader, StreamsMayFollowEachOther) {
  const testing::TemporaryFolder folder;
  const std::string text = long_text(3 << 20);
  EXPECT_EQ(read_all(write_file(folder / "a", gzip_of(text) + gzip_of("") + gzip_of("end"))), text + "end");
  EXPECT_EQ(read_all(write_file(folder / "a", zstd_of(text) + zstd_of("") + zstd_of("end"))), text + "end");
}

TEST(TextReader, OfOneSymbolAMillionfold) {
  const testing::TemporaryFolder folder;
  const std::string text(8'000'000, 'x');
  EXPECT_EQ(read_all(write_file(folder / "a", gzip_of(text))), text);
  EXPECT_EQ(read_all(write_file(folder / "a", zstd_of(text))), text);
}

TEST(TextReader, ACutFileIsNamed) {
  const testing::TemporaryFolder folder;
  for (const std::string& whole : {gzip_of(long_text(300'000)), zstd_of(long_text(300'000))}) {
    for (const std::size_t size : {std::size_t{4}, std::size_t{11}, whole.size() / 2, whole.size() - 1}) {
      const auto path = write_file(folder / "a", whole.substr(0, size));
      EXPECT_THAT(error_of([&] { read_all(path); }), AllOf(HasSubstr(path.string()), HasSubstr("is cut short")))
          << size;
    }
  }
}

TEST(TextReader, ADamagedFileIsNamed) {
  const testing::TemporaryFolder folder;
  for (const std::string& whole : {gzip_of(long_text(300'000)), zstd_of(long_text(300'000))}) {
    std::string damaged = whole;
    damaged[whole.size() / 2] ^= 0x55;
    const auto is_damaged = [&](const std::string& content) {
      const auto path = write_file(folder / "a", content);
      EXPECT_THAT(error_of([&] { read_all(path); }), AllOf(HasSubstr(path.string()), HasSubstr("is damaged")));
    };
    if (whole[0] == '\x1f') is_damaged(damaged);  // zstd's frames have no checksum by default
    is_damaged(whole + "what is no stream");
  }
}

}  // namespace
}  // namespace mudelta
