#include "eval/multiple_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"

namespace qround::eval {
namespace {

int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

// The tokens of `context` + `continuation` as one window that scores the continuation's.
void add_window(const std::string& context, const std::string& continuation,
                const Tokenizer& tokenizer, WindowedText& text) {
  const auto whole = tokenizer.encode(context + continuation);
  // As the harness does: the continuation is what goes beyond the context's own tokens.
  const auto n_context = static_cast<int64_t>(tokenizer.encode(context).size());
  const auto length = static_cast<int64_t>(whole.size());
  Window window;
  window.begin = static_cast<int64_t>(text.tokens.size());
  window.length = length;
  window.first_row = std::clamp<int64_t>(n_context - 1, 0, length - 1);
  window.target_end = window.compare_end = length - 1;
  text.tokens.insert(text.tokens.end(), whole.begin(), whole.end());
  text.text_tokens += length;
  text.windows.push_back(window);
}

int64_t answer_index(const Json& answer, const Json::Array& choices) {
  if (answer.is_int()) return answer.as_int();
  const auto found = std::find(choices.begin(), choices.end(), answer);
  return found == choices.end() ? -1 : found - choices.begin();
}

void add_question(const Json& line, const Tokenizer& tokenizer, ChoiceTask& task) {
  std::string context = line.at("question").as_string();
  const Json::Array& choices = line.at("choices").as_array();
  const int64_t answer = answer_index(line.at("answer"), choices);
  if (choices.size() < 2 || answer < 0 || answer >= static_cast<int64_t>(choices.size()))
    throw Error("a question needs at least two choices, and one of them as its answer");
  const size_t end = context.find_last_not_of(" \t\n\r") + 1;
  if (end == 0) throw Error("a question is empty");
  const std::string spaces = context.substr(end);
  context.resize(end);
  ChoiceQuestion question{{}, answer};
  for (const Json& choice : choices) {
    question.characters.push_back(code_points(choice.as_string()));
    add_window(context, spaces + " " + choice.as_string(), tokenizer, task.text);
  }
  task.questions.push_back(std::move(question));
}

int64_t best_of(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

ChoiceTask load_choices(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  if (!std::filesystem::is_regular_file(file)) throw Error("there is no such file").file(file);
  const std::string contents = read_file(file);
  ChoiceTask task{file.filename().string(), sha256_hex(contents), {}, {}};
  int64_t number = 0;
  for (size_t begin = 0; begin < contents.size();) {
    const size_t end = std::min(contents.find('\n', begin), contents.size());
    const std::string_view line = std::string_view(contents).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      add_question(Json::parse(line), tokenizer, task);
    } catch (const Error& error) {
      throw Error("a question cannot be read")
          .file(file)
          .expected("{\"question\": text, \"choices\": [texts], \"answer\": index or text}")
          .actual(fmt::format("line {}: {}", number, error.message()));
    }
  }
  if (task.questions.empty()) throw Error("there are no questions").file(file);
  return task;
}

ChoiceFigures choice_figures(const std::string& lane, const LaneScores& scores,
                             const ChoiceTask& task) {
  ChoiceFigures figures{lane, {}, {}, {}};
  std::vector<WindowSum> right, right_norm;
  size_t row = 0;
  auto window = task.text.windows.begin();
  for (const ChoiceQuestion& question : task.questions) {
    std::vector<double> sums, per_character;
    for (const int64_t characters : question.characters) {
      double sum = 0;
      for (int64_t i = 0; i < window->targets(); ++i) sum -= scores.nll[row++];
      ++window;
      sums.push_back(sum);
      per_character.push_back(sum / static_cast<double>(std::max<int64_t>(1, characters)));
    }
    figures.picks.push_back(best_of(sums));
    right.push_back({best_of(sums) == question.answer ? 1.0 : 0.0, 1});
    right_norm.push_back({best_of(per_character) == question.answer ? 1.0 : 0.0, 1});
  }
  figures.accuracy = window_mean(right);
  figures.accuracy_norm = window_mean(right_norm);
  return figures;
}

Json to_json(const ChoiceFigures& figures) {
  Json::Array picks;
  for (const int64_t pick : figures.picks) picks.emplace_back(pick);
  return Json::object({{"name", figures.name},
                       {"acc", to_json(figures.accuracy)},
                       {"acc_norm", to_json(figures.accuracy_norm)},
                       {"picks", Json(std::move(picks))}});
}

}  // namespace qround::eval
