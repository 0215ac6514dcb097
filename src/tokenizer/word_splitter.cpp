#include "tokenizer/word_splitter.h"

#include <utility>

namespace qround {
namespace {

void split_piece(const FamilySplitter& splitter, std::string_view piece,
                 std::vector<std::string_view>& words) {
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = splitter.word_end(piece, begin);
    words.push_back(piece.substr(begin, end - begin));
    begin = end;
  }
}

void split_piece(const RegexSplitter& splitter, std::string_view piece,
                 std::vector<std::string_view>& words) {
  splitter.split(piece, words);
}

}  // namespace

WordSplitter::WordSplitter(const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    if (const auto family = FamilySplitter::for_pattern(pattern)) {
      steps_.emplace_back(*family);
    } else {
      steps_.emplace_back(RegexSplitter(pattern));
    }
  }
}

const FamilySplitter* WordSplitter::family() const {
  return steps_.size() == 1 ? std::get_if<FamilySplitter>(&steps_.front()) : nullptr;
}

void WordSplitter::split(std::string_view text, std::vector<std::string_view>& words) const {
  words.assign(1, text);
  std::vector<std::string_view> pieces;
  for (const auto& step : steps_) {
    pieces.swap(words);
    words.clear();
    for (const std::string_view piece : pieces) {
      std::visit([&](const auto& splitter) { split_piece(splitter, piece, words); }, step);
    }
  }
}

}  // namespace qround
