#include "tokenizer/streaming_decoder.h"

#include <utility>

#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace qround {

std::string StreamingDecoder::push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_->is_special(id)) return text;
  unfinished_ += tokenizer_->id_to_token(id);
  std::string_view rest = unfinished_;
  while (!rest.empty()) {
    const Utf8Unit unit = first_utf8_unit(rest);
    if (unit.kind == Utf8Unit::Kind::cut_off) break;
    text += unit.kind == Utf8Unit::Kind::character ? rest.substr(0, unit.length)
                                                   : kReplacementCharacter;
    rest.remove_prefix(unit.length);
  }
  unfinished_ = std::string(rest);
  return text;
}

std::string StreamingDecoder::flush() {
  return std::exchange(unfinished_, {}).empty() ? std::string()
                                                : std::string(kReplacementCharacter);
}

}  // namespace qround
