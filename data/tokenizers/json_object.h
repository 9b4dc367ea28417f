#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "core/error.h"

namespace mudelta {

using Json = nlohmann::json;

// An object of a JSON file that must be understood whole: each of its fields is asked for, and one that was not is
// refused. Errors name the place ("model.merges").
class JsonObject {
 public:
  // Throws Error unless `json`, which must outlive this, is an object.
  JsonObject(const Json& json, std::string where);

  const std::string& where() const { return where_; }
  std::string where(std::string_view name) const;  // of a field
  std::string type() const { return get<std::string>("type"); }

  // A field; null if it is absent.
  const Json& field(const std::string& name) const;
  // Throws Error if it is absent or of another type.
  template <class T>
  T get(const std::string& name) const {
    return convert<T>(field(name), where(name));
  }
  // `otherwise` if it is absent or null.
  template <class T>
  T get(const std::string& name, T otherwise) const {
    return field(name).is_null() ? otherwise : get<T>(name);
  }

  // Throws Error, naming it, if there is a field that was not asked for.
  void refuse_others() const;

  template <class T>
  static T convert(const Json& json, const std::string& where);

 private:
  const Json& json_;
  std::string where_;
  mutable std::set<std::string> known_;
};

// The elements of an array. Throws Error, naming the place, if it is none.
const Json& require_array(const Json& json, const std::string& where);

std::string element_of(const std::string& where, std::size_t index);  // "where[index]"

// A value as errors show it, cut short where it is long.
std::string shown(const Json& json);

}  // namespace mudelta
