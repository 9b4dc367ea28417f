#include "data/text/text_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace mudelta {

// What stands in the file, block by block, and the text that it becomes.
class TextReader::Source {
 public:
  explicit Source(const FileReader& file) : file_(file) {}
  virtual ~Source() = default;

  // Fills `out` as far as there is text.
  virtual std::size_t read(std::span<char> out) = 0;
  std::int64_t bytes_read() const { return bytes_read_; }

 protected:
  std::size_t read_file(std::span<char> out) {
    const auto count = std::min(std::ssize(out), file_.num_bytes() - bytes_read_);
    file_.read(bytes_read_, std::as_writable_bytes(out.first(static_cast<std::size_t>(count))));
    bytes_read_ += count;
    return static_cast<std::size_t>(count);
  }
  const FileReader& file() const { return file_; }

 private:
  const FileReader& file_;
  std::int64_t bytes_read_ = 0;
};

namespace {

class PlainSource : public TextReader::Source {
 public:
  using Source::Source;
  std::size_t read(std::span<char> out) override { return read_file(out); }
};

// A compressed file is one or more streams, one after another.
class PackedSource : public TextReader::Source {
 public:
  explicit PackedSource(const FileReader& file)
      : Source(file), packed_(static_cast<std::size_t>(FileReader::kBlockBytes)) {}

  std::size_t read(std::span<char> out) override {
    std::size_t done = 0;
    while (done < out.size()) {
      if (rest_.empty()) rest_ = std::span(packed_).first(read_file(packed_));
      const bool ended = rest_.empty();
      if (ended && !inside_) break;
      const std::size_t taken = rest_.size(), made = done;
      inside_ = !unpack(rest_, out, done);
      const bool stands_still = rest_.size() == taken && done == made;
      require(!(ended && stands_still), "{} is cut short: its compressed text goes on after its last byte, {}",
              file().path().string(), file().num_bytes());
    }
    return done;
  }

 protected:
  // Takes what it unpacks from the front of `packed` and writes it from out[done]; whether a stream has ended.
  virtual bool unpack(std::span<char>& packed, std::span<char> out, std::size_t& done) = 0;

  [[noreturn]] void fail_damaged(std::string_view reason) const {
    fail("{} is damaged: its compressed text cannot be unpacked after byte {} ({})", file().path().string(),
         bytes_read() - std::ssize(rest_), reason);
  }

 private:
  std::vector<char> packed_;
  std::span<char> rest_;  // of packed_, not unpacked yet
  bool inside_ = false;   // a stream
};

class GzipSource : public PackedSource {
 public:
  explicit GzipSource(const FileReader& file) : PackedSource(file) {
    constexpr int kGzipOnly = 16;
    require(inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK, "no memory to unpack {}", file.path().string());
  }
  ~GzipSource() override { inflateEnd(&stream_); }

 private:
  bool unpack(std::span<char>& packed, std::span<char> out, std::size_t& done) override {
    stream_.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream_.avail_in = static_cast<uInt>(packed.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    stream_.avail_out = static_cast<uInt>(out.size() - done);
    const int status = inflate(&stream_, Z_NO_FLUSH);
    packed = packed.last(stream_.avail_in);
    done = out.size() - stream_.avail_out;
    if (status == Z_STREAM_END) {
      inflateReset(&stream_);
      return true;
    }
    if (status != Z_OK && status != Z_BUF_ERROR) fail_damaged(stream_.msg != nullptr ? stream_.msg : "zlib");
    return false;
  }

  z_stream stream_{};
};

class ZstdSource : public PackedSource {
 public:
  explicit ZstdSource(const FileReader& file) : PackedSource(file), stream_(ZSTD_createDStream(), ZSTD_freeDStream) {
    require(stream_ != nullptr, "no memory to unpack {}", file.path().string());
  }

 private:
  bool unpack(std::span<char>& packed, std::span<char> out, std::size_t& done) override {
    ZSTD_inBuffer from{packed.data(), packed.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), done};
    const std::size_t status = ZSTD_decompressStream(stream_.get(), &to, &from);
    packed = packed.subspan(from.pos);
    done = to.pos;
    if (ZSTD_isError(status) != 0) fail_damaged(ZSTD_getErrorName(status));
    return status == 0;
  }

  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream_;
};

std::unique_ptr<TextReader::Source> make_source(const FileReader& file) {
  using namespace std::string_view_literals;
  const std::string head = file.text(std::min<std::int64_t>(file.num_bytes(), 4));
  if (head.starts_with("\x1f\x8b"sv)) return std::make_unique<GzipSource>(file);
  if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return std::make_unique<ZstdSource>(file);
  return std::make_unique<PlainSource>(file);
}

}  // namespace

TextReader::TextReader(const std::filesystem::path& path) : file_(path), source_(make_source(file_)) {
  block_.resize(static_cast<std::size_t>(FileReader::kBlockBytes));
}

TextReader::~TextReader() = default;

std::string_view TextReader::next() { return {block_.data(), source_->read(block_)}; }

std::int64_t TextReader::bytes_read() const { return source_->bytes_read(); }

}  // namespace mudelta
