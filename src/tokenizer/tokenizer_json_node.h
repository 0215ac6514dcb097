// A value of tokenizer.json with the way to it, so that every complaint names file and place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace qround {

// Refers to the JSON and the path it was made from; both must outlive it. What has not the type
// asked for throws Error.
class TokenizerJsonNode {
 public:
  TokenizerJsonNode(const Json& root, const std::filesystem::path& file)
      : TokenizerJsonNode(root, "", file) {}

  TokenizerJsonNode at(std::string_view key) const;                   // throws where it is absent
  std::optional<TokenizerJsonNode> find(std::string_view key) const;  // nullopt: absent or null
  TokenizerJsonNode element(size_t idx) const;                        // of an array, in range

  const std::string& string() const;
  const Json::Array& array() const;
  const JsonObject& object() const;
  bool flag(std::string_view key, bool otherwise) const;  // a member; `otherwise`: absent or null
  bool is_zero() const;

  // This value, or the given number found in it, as the id of a token: 0 to kMaxTokenId.
  int32_t id() const;
  int32_t checked_id(int64_t id) const;

  // An Error that names the file.
  Error error(std::string message) const;
  // For what is well formed but of a kind this project does not read.
  [[noreturn]] void refuse(std::string_view expected, std::string_view actual) const;

 private:
  TokenizerJsonNode(const Json& value, std::string place, const std::filesystem::path& file)
      : value_(&value), place_(std::move(place)), file_(&file) {}
  TokenizerJsonNode child(const Json& member, std::string_view key) const;
  std::string place_or_file() const { return place_.empty() ? "the tokenizer" : place_; }
  [[noreturn]] void wrong_type(std::string_view expected) const;

  const Json* value_;
  std::string place_;  // "model.merges[3]"
  const std::filesystem::path* file_;
};

}  // namespace qround
