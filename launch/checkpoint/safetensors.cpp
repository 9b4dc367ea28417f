#include "launch/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/file_writer.h"
#include "core/files/json.h"

namespace mudelta {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's other readers
constexpr std::string_view kMetadataKey = "__metadata__";

struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array<DTypeName, 3> kDTypeNames = {
    {{DType::kFloat32, "F32"}, {DType::kBFloat16, "BF16"}, {DType::kInt32, "I32"}}};

std::string_view safetensors_name(DType dtype) {
  return std::ranges::find(kDTypeNames, dtype, &DTypeName::dtype)->name;
}

std::string make_header(std::span<const std::pair<std::string, Tensor>> tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[std::string(kMetadataKey)] = metadata;
  std::int64_t begin = 0;
  for (const auto& [key, tensor] : tensors) {
    require(!header.contains(key) && key != kMetadataKey, "[safetensors] the key {} occurs twice or is reserved", key);
    const std::int64_t end = begin + tensor.num_bytes();
    header[key] = {
        {"dtype", safetensors_name(tensor.dtype())}, {"shape", tensor.shape().sizes()}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

// The beginning of a value, for messages.
std::string brief(const Json& value) {
  constexpr std::size_t kMost = 100;
  const std::string text = value.dump();
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

// A list of whole numbers that fit int64; nothing if `value` is something else.
std::optional<std::vector<std::int64_t>> to_integers(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::int64_t> integers;
  for (const Json& element : value) {
    if (!element.is_number_unsigned() || element.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
    integers.push_back(element.get<std::int64_t>());
  }
  return integers;
}

Json parse_header(const std::string& path, std::string_view text) {
  try {
    const auto header = parse_json<Json>(text);
    require(header.is_object(), "it is {}", header.type_name());
    return header;
  } catch (const Error& error) {
    fail("{}: the header is not a JSON object: {}", path, error.what());
  }
}

// Nothing if they are too many to be counted.
std::optional<std::int64_t> num_bytes_of(std::span<const std::int64_t> sizes, DType dtype) {
  try {
    return product_of({product_of(sizes), size_of(dtype)});
  } catch (const Error&) {
    return std::nullopt;
  }
}

// The bytes after the header.
struct Data {
  std::int64_t begin, num_bytes;
};

// `where` begins the messages: the file and the key.
SafetensorsFile::Entry parse_entry(const std::string& where, const Json& value, const Data& data) {
  require(value.is_object() && value.contains("dtype") && value.contains("shape") && value.contains("data_offsets"),
          "{}: found {}, expected an object with dtype, shape and data_offsets", where, brief(value));
  const auto dtype_name = std::ranges::find_if(
      kDTypeNames, [&](const DTypeName& name) { return value["dtype"] == std::string(name.name); });
  require(dtype_name != kDTypeNames.end(), "{}: dtype {}, expected F32, BF16 or I32", where, brief(value["dtype"]));
  const DType dtype = dtype_name->dtype;

  const auto sizes = to_integers(value["shape"]);
  require(sizes && sizes->size() <= Shape::kMaxRank, "{}: shape {}, expected at most {} whole numbers", where,
          brief(value["shape"]), Shape::kMaxRank);
  const auto offsets = to_integers(value["data_offsets"]);
  require(offsets && offsets->size() == 2 && (*offsets)[0] <= (*offsets)[1],
          "{}: data_offsets {}, expected [begin, end]", where, brief(value["data_offsets"]));
  const auto [begin, end] = std::pair((*offsets)[0], (*offsets)[1]);
  require(end <= data.num_bytes, "{}: its data end {} bytes after the header, but the file has only {}", where, end,
          data.num_bytes);
  const auto num_bytes = num_bytes_of(*sizes, dtype);
  require(num_bytes == end - begin, "{}: {} bytes of data, expected those of {} {}", where, end - begin,
          dtype_name->name, brief(value["shape"]));
  return {dtype, Shape(std::span<const std::int64_t>(*sizes)), data.begin + begin, end - begin};
}

void check_tiling(const std::string& path, const std::map<std::string, SafetensorsFile::Entry>& entries,
                  const Data& data) {
  struct Extent {
    std::int64_t begin, end;
    std::string_view key;
  };
  std::vector<Extent> extents;
  for (const auto& [key, entry] : entries) {
    const std::int64_t begin = entry.begin - data.begin;
    extents.push_back({begin, begin + entry.num_bytes, key});
  }
  std::ranges::sort(extents, {}, [](const Extent& extent) { return std::pair(extent.begin, extent.end); });
  std::int64_t end = 0;
  for (const Extent& extent : extents) {
    require(extent.begin == end, "{}: data of {} begin {} bytes after the header, expected {} ({})", path, extent.key,
            extent.begin, end, extent.begin < end ? "they overlap another tensor's" : "there is a gap before");
    end = extent.end;
  }
  require(end == data.num_bytes, "{}: has {} bytes after the header, expected {}", path, data.num_bytes, end);
}

}  // namespace

std::int64_t write_safetensors(const std::filesystem::path& path,
                               std::span<const std::pair<std::string, Tensor>> tensors,
                               const std::map<std::string, std::string>& metadata) {
  // Each tensor then starts at a multiple of its own element size, as readers that map the file need.
  std::vector<std::pair<std::string, Tensor>> ordered(tensors.begin(), tensors.end());
  std::ranges::stable_sort(ordered, std::greater(), [](const auto& entry) { return size_of(entry.second.dtype()); });

  const std::string header = make_header(ordered, metadata);
  const auto length = std::bit_cast<std::array<std::byte, kLengthBytes>>(static_cast<std::uint64_t>(header.size()));
  std::int64_t num_bytes = kLengthBytes + static_cast<std::int64_t>(header.size());

  FileWriter file(path);
  file.append(length);
  file.append(std::as_bytes(std::span(header)));
  for (const auto& [key, tensor] : ordered) {
    file.append({tensor.raw(), static_cast<std::size_t>(tensor.num_bytes())});
    num_bytes += tensor.num_bytes();
  }
  file.commit();
  return num_bytes;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  const FileReader file(path);
  const std::string name = path.string();
  num_bytes_ = file.num_bytes();
  require(num_bytes() >= kLengthBytes, "{}: has {} bytes, expected the {} of a header's length at least", name,
          num_bytes(), kLengthBytes);
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  const std::int64_t most = std::min(num_bytes() - kLengthBytes, kMaxHeaderBytes);
  require(length <= static_cast<std::uint64_t>(most), "{}: a header of {} bytes, expected at most {}", name, length,
          most);
  std::string text(length, '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
  const Json header = parse_header(name, text);

  const std::int64_t header_bytes = kLengthBytes + static_cast<std::int64_t>(length);
  const Data data = {header_bytes, num_bytes() - header_bytes};
  for (const auto& [key, value] : header.items()) {
    if (key == kMetadataKey) {
      const bool is_strings = value.is_object() && std::ranges::all_of(value, &Json::is_string);
      require(is_strings, "{}: {} is {}, expected a map of strings", name, key, brief(value));
      metadata_ = value.get<std::map<std::string, std::string>>();
    } else {
      entries_.emplace(key, parse_entry(fmt::format("{}: {}", name, key), value, data));
    }
  }
  check_tiling(name, entries_, data);
}

const SafetensorsFile::Entry& SafetensorsFile::find(const std::string& key) const {
  const auto found = entries_.find(key);
  require(found != entries_.end(), "{}: holds no tensor named {}", path().string(), key);
  return found->second;
}

Tensor SafetensorsFile::read(const std::string& key) const {
  const Shape& shape = find(key).shape;
  return read(key, 0, shape.numel()).view(shape);
}

Tensor SafetensorsFile::read(const std::string& key, std::int64_t begin, std::int64_t numel) const {
  const Entry& entry = find(key);
  const Tensor tensor = Tensor::empty({numel}, entry.dtype);
  FileReader(path_).read(entry.begin + begin * size_of(entry.dtype),
                         {tensor.raw(), static_cast<std::size_t>(tensor.num_bytes())});
  return tensor;
}

}  // namespace mudelta
