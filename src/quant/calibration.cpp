#include "quant/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace qround::quant {
namespace {
namespace fs = std::filesystem;

struct Source {
  fs::path file;
  int64_t sequences = 0;  // 0: its share of what the others leave
};

Error bad_source(const std::string& text, const char* expected) {
  return Error("--data cannot be read").expected(expected).actual(text);
}

// "name:num=64": the part after the first colon holds settings.
Source parse_source(const std::string& text) {
  const size_t colon = text.find(':');
  Source source{text.substr(0, colon), 0};
  if (colon != std::string::npos) {
    const std::string setting = text.substr(colon + 1);
    const char* begin = setting.data() + std::min<size_t>(setting.size(), 4);
    const auto [end, code] =
        std::from_chars(begin, setting.data() + setting.size(), source.sequences);
    const bool valid = setting.starts_with("num=") && code == std::errc() &&
                       end == setting.data() + setting.size();
    if (!valid || source.sequences < 1) throw bad_source(text, "FILE or FILE:num=N");
  }
  if (!fs::is_regular_file(source.file)) {
    throw Error("calibration data is no file here")
        .file(source.file)
        .hint(
            "download the data set as jsonl with a \"text\" member per line, for example from "
            "huggingface.co/datasets/NeelNanda/pile-10k, and name that file with --data");
  }
  return source;
}

std::vector<Source> parse_sources(const std::string& data) {
  std::vector<Source> sources;
  for (size_t begin = 0; begin <= data.size();) {
    const size_t end = std::min(data.find(',', begin), data.size());
    if (end == begin) throw bad_source(data, "FILE[:num=N][,FILE...]");
    sources.push_back(parse_source(data.substr(begin, end - begin)));
    begin = end + 1;
  }
  return sources;
}

// Turns one entry of a data file into the text a model is to read.
class EntryReader {
 public:
  EntryReader(const fs::path& model_directory, bool use_template)
      : directory_(model_directory), use_template_(use_template) {}

  std::string text(const Json& entry, const fs::path& file, size_t number) {
    const Json* messages = entry.find("messages");
    if (messages != nullptr) return render(*messages);
    const Json* text = entry.is_string() ? &entry : entry.find("text");
    if (text == nullptr || !text->is_string()) {
      throw Error("a calibration entry has no text")
          .file(file)
          .expected("a string, or an object with \"text\" or \"messages\"")
          .actual(fmt::format("entry {}", number + 1));
    }
    if (!use_template_) return text->as_string();
    return render(Json::array({Json::object({{"role", "user"}, {"content", *text}})}));
  }

 private:
  std::string render(const Json& messages) {
    if (!template_) template_ = ChatTemplate::load(directory_);
    return template_->render(messages);
  }

  const fs::path& directory_;
  bool use_template_;
  std::optional<ChatTemplate> template_;
};

std::vector<std::string> read_texts(const fs::path& file, EntryReader& reader) {
  const std::string contents = read_file(file);
  std::vector<std::string> texts;
  if (file.extension() == ".txt") return {contents};
  if (file.extension() == ".json") {
    const Json entries = Json::parse(contents, file);
    if (!entries.is_array())
      throw Error("not a list of texts").file(file).actual(entries.type_name());
    for (const Json& entry : entries.as_array())
      texts.push_back(reader.text(entry, file, texts.size()));
    return texts;
  }
  for (size_t begin = 0; begin < contents.size();) {
    const size_t end = std::min(contents.find('\n', begin), contents.size());
    const std::string_view line = std::string_view(contents).substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos)
      texts.push_back(reader.text(Json::parse(line, file), file, texts.size()));
    begin = end + 1;
  }
  return texts;
}

// Texts that are one token over and over teach nothing.
bool is_repetitive(const std::vector<int32_t>& ids) {
  return std::count(ids.begin(), ids.end(), ids.back()) > static_cast<int64_t>(ids.size()) / 2;
}

using Sequences = std::vector<std::vector<int32_t>>;

// The first `length` tokens of every text that has as many.
Sequences cut_each(const std::vector<std::string>& texts, const Tokenizer& tokenizer, size_t length,
                   size_t wanted) {
  Sequences sequences;
  for (const std::string& text : texts) {
    if (sequences.size() == wanted) break;
    std::vector<int32_t> ids = tokenizer.encode(text);
    if (ids.size() < length) continue;
    ids.resize(length);
    if (!is_repetitive(ids)) sequences.push_back(std::move(ids));
  }
  return sequences;
}

// All texts one after the other, cut every `length` tokens.
Sequences cut_packed(const std::vector<std::string>& texts, const Tokenizer& tokenizer,
                     size_t length, size_t wanted) {
  Sequences sequences;
  std::vector<int32_t> open;
  for (const std::string& text : texts) {
    const std::vector<int32_t> ids = tokenizer.encode(text);
    open.insert(open.end(), ids.begin(), ids.end());
    size_t used = 0;
    for (; open.size() - used >= length && sequences.size() < wanted; used += length) {
      sequences.emplace_back(open.begin() + static_cast<std::ptrdiff_t>(used),
                             open.begin() + static_cast<std::ptrdiff_t>(used + length));
    }
    open.erase(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(used));
    if (sequences.size() == wanted) break;
  }
  return sequences;
}

void shuffle(std::vector<std::string>& texts, uint64_t seed, uint64_t stream) {
  for (size_t i = texts.size(); i > 1; --i) {
    std::swap(texts[i - 1],
              texts[static_cast<size_t>(random_unit(seed, stream, i) * static_cast<double>(i))]);
  }
}

}  // namespace

CalibrationData load_calibration(const CalibrationOptions& options,
                                 const fs::path& model_directory) {
  std::vector<Source> sources = parse_sources(options.data);
  int64_t stated = 0, open = 0;
  for (const Source& source : sources) {
    stated += source.sequences;
    open += source.sequences == 0 ? 1 : 0;
  }
  for (Source& source : sources) {
    if (source.sequences > 0) continue;
    source.sequences = std::max<int64_t>(0, options.samples - stated) / open;
    stated += source.sequences;
    --open;
  }
  const Tokenizer tokenizer = Tokenizer::load(model_directory);
  EntryReader reader(model_directory, options.chat_template);
  CalibrationData data{0, options.length, {}, {}, {}};
  for (size_t i = 0; i < sources.size(); ++i) {
    std::vector<std::string> texts = read_texts(sources[i].file, reader);
    shuffle(texts, options.seed, i);
    const auto cut = options.pack ? cut_packed : cut_each;
    const Sequences found = cut(texts, tokenizer, static_cast<size_t>(options.length),
                                static_cast<size_t>(sources[i].sequences));
    if (static_cast<int64_t>(found.size()) < sources[i].sequences) {
      throw Error("too little calibration text")
          .file(sources[i].file)
          .expected(fmt::format("{} sequences of {} tokens", sources[i].sequences, options.length))
          .actual(fmt::format("{} in {} texts", found.size(), texts.size()))
          .hint("lower --nsamples or --seqlen, add files, or join short texts with --pack");
    }
    for (const std::vector<int32_t>& ids : found)
      data.tokens.insert(data.tokens.end(), ids.begin(), ids.end());
    data.samples += static_cast<int64_t>(found.size());
  }
  if (data.samples != options.samples) {
    throw Error("--data names other numbers of sequences than --nsamples")
        .expected(fmt::format("{} sequences", options.samples))
        .actual(fmt::format("{}", data.samples));
  }
  Sha256 hash;
  hash.update(std::as_bytes(std::span(data.tokens)));
  data.sha256 = hash.hex();
  return data;
}

}  // namespace qround::quant
