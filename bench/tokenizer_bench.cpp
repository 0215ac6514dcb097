// Times encoding on one thread, and the same work step by step.
//
//   tokenizer_bench DIR FILE [REPEATS] [--ids OUT]
//
// DIR holds tokenizer.json. FILE's text is encoded whole REPEATS times (default 5); one line of
// JSON gives the best time, with the word cache warm from the second run on and the first time
// beside it.
// --ids writes the ids as little-endian int32, for a comparison by the program that made FILE.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/tokenizer.h"

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

int run(const std::vector<std::string>& arguments, const std::string& ids_path) {
  const int repeats = arguments.size() > 2 ? std::stoi(arguments[2]) : 5;
  const std::string text = qround::read_file(arguments[1]);
  const auto megabytes = static_cast<double>(text.size()) / 1e6;

  std::vector<int32_t> ids;
  double first = 0, best = 0;
  std::optional<qround::Tokenizer> tokenizer;
  const double load = seconds_of([&] { tokenizer = qround::Tokenizer::load(arguments[0]); });
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const double time = seconds_of([&] { ids = tokenizer->encode(text); });
    if (repeat == 0) first = best = time;
    best = std::min(best, time);
  }
  if (!ids_path.empty()) write_ids(ids_path, ids);
  const auto result = qround::Json::object({{"bytes", static_cast<int64_t>(text.size())},
                                            {"tokens", static_cast<int64_t>(ids.size())},
                                            {"load_s", load},
                                            {"first_s", first},
                                            {"best_s", best},
                                            {"first_mb_per_s", megabytes / first},
                                            {"best_mb_per_s", megabytes / best}});
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
