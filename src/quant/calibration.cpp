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
#include "quant/dataset_cache.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace qround::quant {
namespace {
namespace fs = std::filesystem;

struct Source {
  std::string name;
  std::vector<fs::path> files;
  int64_t sequences = 0;  // 0: its share of what the others leave
  bool pack = false, chat_template = false;
};

constexpr const char* kSourceForm = "NAME[:num=N][:concat][:apply_chat_template][,NAME...]";

Error bad_source(const std::string& text) {
  return Error("--data cannot be read").expected(kSourceForm).actual(text);
}

// "true" or nothing, as auto-round's users write switches.
bool switch_value(const std::string& value, const std::string& whole) {
  if (value.empty() || value == "true" || value == "True") return true;
  if (value == "false" || value == "False") return false;
  throw bad_source(whole);
}

void apply_setting(const std::string& setting, const std::string& whole, Source& source) {
  const size_t equals = std::min(setting.find('='), setting.size());
  const std::string key = setting.substr(0, equals);
  const std::string value = setting.substr(std::min(equals + 1, setting.size()));
  if (key == "concat") {
    source.pack = switch_value(value, whole);
  } else if (key == "apply_chat_template") {
    source.chat_template = switch_value(value, whole);
  } else if (key == "num") {
    const char* end = value.data() + value.size();
    const auto [stop, code] = std::from_chars(value.data(), end, source.sequences);
    if (code != std::errc() || stop != end || source.sequences < 1) throw bad_source(whole);
  } else {
    throw bad_source(whole);
  }
}

// A file, or a data set that was downloaded before.
std::vector<fs::path> find_files(const std::string& name, const CalibrationOptions& options) {
  if (fs::is_regular_file(name)) return {name};
  const fs::path cache =
      options.dataset_cache.empty() ? huggingface_cache() : options.dataset_cache;
  std::vector<fs::path> files = cached_dataset(cache, name);
  if (!files.empty()) return files;
  throw Error("calibration data is neither a file nor a downloaded data set")
      .file(name)
      .expected(fmt::format("a file, or a data set in {}", cache.string()))
      .hint(
          "download the data set (hf download --repo-type dataset NAME), or name a jsonl file with "
          "a \"text\" member per line with --data");
}

// "name:num=64:concat": settings follow the first colon.
Source parse_source(const std::string& text, const CalibrationOptions& options) {
  size_t end = std::min(text.find(':'), text.size());
  Source source{
      .name = text.substr(0, end), .pack = options.pack, .chat_template = options.chat_template};
  while (end < text.size()) {
    const size_t begin = end + 1;
    end = std::min(text.find(':', begin), text.size());
    apply_setting(text.substr(begin, end - begin), text, source);
  }
  source.files = find_files(source.name, options);
  return source;
}

std::vector<Source> parse_sources(const CalibrationOptions& options) {
  const std::string& data = options.data;
  std::vector<Source> sources;
  for (size_t begin = 0; begin <= data.size();) {
    const size_t end = std::min(data.find(',', begin), data.size());
    if (end == begin) throw bad_source(data);
    sources.push_back(parse_source(data.substr(begin, end - begin), options));
    begin = end + 1;
  }
  return sources;
}

// Turns one entry of a data file into the text a model is to read.
class EntryReader {
 public:
  explicit EntryReader(const fs::path& model_directory) : directory_(model_directory) {}

  // Of the entries to come: whether plain texts become user messages.
  void use_template(bool use) { use_template_ = use; }

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
  bool use_template_ = false;
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
  std::vector<Source> sources = parse_sources(options);
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
  EntryReader reader(model_directory);
  CalibrationData data{0, options.length, {}, {}, {}};
  for (size_t i = 0; i < sources.size(); ++i) {
    reader.use_template(sources[i].chat_template);
    std::vector<std::string> texts;
    for (const fs::path& file : sources[i].files) {
      std::vector<std::string> more = read_texts(file, reader);
      std::move(more.begin(), more.end(), std::back_inserter(texts));
    }
    shuffle(texts, options.seed, i);
    const auto cut = sources[i].pack ? cut_packed : cut_each;
    const Sequences found = cut(texts, tokenizer, static_cast<size_t>(options.length),
                                static_cast<size_t>(sources[i].sequences));
    if (static_cast<int64_t>(found.size()) < sources[i].sequences) {
      throw Error("too little calibration text")
          .file(sources[i].name)
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
