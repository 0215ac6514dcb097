#include "eval/text_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

namespace qround::eval {
namespace {

std::string joined_texts(std::string_view lines, const std::filesystem::path& file) {
  std::string text;
  size_t number = 0;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const std::string_view line = lines.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Json entry = Json::parse(line, file);
    const Json* value = entry.is_string() ? &entry : entry.find("text");
    if (value == nullptr || !value->is_string()) {
      throw Error("an entry has no text")
          .file(file)
          .expected("a string, or an object with a \"text\" string")
          .actual(fmt::format("line {}", number));
    }
    if (!text.empty()) text += "\n\n";
    text += value->as_string();
  }
  return text;
}

}  // namespace

TextData load_text_data(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  if (!std::filesystem::is_regular_file(file))
    throw Error("there is no such text").file(file).hint("--data names a text or jsonl file");
  const std::string contents = read_file(file);
  TextData data;
  data.name = file.filename().string();
  data.text_sha256 = sha256_hex(contents);
  data.tokens =
      tokenizer.encode(file.extension() == ".jsonl" ? joined_texts(contents, file) : contents);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(data.tokens)));
  data.tokens_sha256 = hash.hex();
  return data;
}

}  // namespace qround::eval
