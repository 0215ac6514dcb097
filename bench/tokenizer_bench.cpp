// Times encoding on one thread, and its first steps alone.
//
//   tokenizer_bench DIR FILE [REPEATS] [--ids OUT]
//
// DIR holds tokenizer.json. FILE's text is encoded whole REPEATS times (default 5). One line of
// JSON gives the first time, when no word is known yet, the best time, and the best times of
// checking the UTF-8, of NFC and of splitting into words, all in seconds. --ids writes the ids as
// int32, for a comparison by the program that made FILE. oracle/tokenizer_speed.py runs it beside
// the reference.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_spec.h"
#include "tokenizer/utf8.h"
#include "tokenizer/word_splitter.h"

namespace {

double seconds_of(auto&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void write_ids(const std::string& path, const std::vector<int32_t>& ids) {
  qround::OutputFile file(path);
  file.append(std::as_bytes(std::span(ids)));
  file.close();
}

double best_seconds_of(int repeats, auto&& work) {
  double best = seconds_of(work);
  for (int repeat = 1; repeat < repeats; ++repeat) best = std::min(best, seconds_of(work));
  return best;
}

size_t count_words(const qround::WordSplitter& splitter, std::string_view text) {
  size_t n_words = 0;
  if (const qround::FamilySplitter* family = splitter.family()) {
    for (size_t pos = 0; pos < text.size(); ++n_words) pos = family->word_end(text, pos);
    return n_words;
  }
  std::vector<std::string_view> words;
  splitter.split(text, words);
  return words.size();
}

int run(const std::vector<std::string>& arguments, const std::string& ids_path) {
  const std::filesystem::path directory = arguments[0];
  const int repeats = arguments.size() > 2 ? std::stoi(arguments[2]) : 5;
  const std::string text = qround::read_file(arguments[1]);

  std::optional<qround::Tokenizer> tokenizer;
  const double load = seconds_of([&] { tokenizer = qround::Tokenizer::load(directory); });
  std::vector<int32_t> ids;
  const double first = seconds_of([&] { ids = tokenizer->encode(text); });
  const double best = best_seconds_of(repeats, [&] { ids = tokenizer->encode(text); });
  if (!ids_path.empty()) write_ids(ids_path, ids);

  const std::filesystem::path file = directory / "tokenizer.json";
  const auto spec = qround::read_tokenizer_spec(qround::Json::parse_file(file), file);
  const qround::WordSplitter splitter(spec.split_patterns);
  bool valid = false;
  std::string buffer;
  std::string_view normalized;
  size_t n_words = 0;
  const double check = best_seconds_of(repeats, [&] { valid = qround::is_utf8(text); });
  const double nfc = best_seconds_of(repeats, [&] { normalized = qround::to_nfc(text, buffer); });
  const double split =
      best_seconds_of(repeats, [&] { n_words = count_words(splitter, normalized); });

  const auto count = [](size_t n) { return static_cast<int64_t>(n); };
  const auto result = qround::Json::object({{"bytes", count(text.size())},
                                            {"is_utf8", valid},
                                            {"words", count(n_words)},
                                            {"tokens", count(ids.size())},
                                            {"load_s", load},
                                            {"first_s", first},
                                            {"best_s", best},
                                            {"utf8_check_s", check},
                                            {"nfc_s", nfc},
                                            {"split_s", split}});
  std::puts(result.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments;
  std::string ids_path;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--ids") == 0 && i + 1 < argc) {
      ids_path = argv[++i];
    } else {
      arguments.emplace_back(argv[i]);
    }
  }
  if (arguments.size() < 2) {
    std::fputs("usage: tokenizer_bench DIR FILE [REPEATS] [--ids OUT]\n", stderr);
    return 2;
  }
  try {
    return run(arguments, ids_path);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
