// Whatever the bytes, reading them as tokenizer.json ends with an Error that names the file or with
// a tokenizer whose ids are tokens, and whose streamed text is that of the whole.
//
// Input: the JSON, and after a zero byte, if there is one, a further text to encode.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "tokenizer/streaming_decoder.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace {

using qround::ParseTokens;
using qround::Tokenizer;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_ids(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const bool skip_special : {false, true}) {
    qround::StreamingDecoder decoder(tokenizer, skip_special);
    std::string streamed;
    for (const int32_t id : ids) {
      require(id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size());
      streamed += decoder.push(id);
      require(qround::is_utf8(streamed));
    }
    streamed += decoder.flush();
    require(streamed == tokenizer.decode(ids, skip_special));
  }
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  for (const ParseTokens parse : {ParseTokens::all, ParseTokens::non_special, ParseTokens::none}) {
    const std::vector<int32_t> ids = tokenizer.encode(text, parse);
    require(ids == tokenizer.encode(text, parse));  // this time from the cache
    check_ids(tokenizer, ids);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view text = zero == std::string_view::npos ? "" : input.substr(zero + 1);
  bool is_read = false;
  try {
    const qround::Json json = qround::Json::parse(input.substr(0, zero), "fuzz.json");
    const Tokenizer tokenizer = Tokenizer::from_json(json, "fuzz.json");
    is_read = true;
    check_text(tokenizer, "");
    check_text(tokenizer, "abcd abab cde\u0301\u0316 <end> 12\r\n\n x \u00A0[A] it's\xFF\xE2\x82");
    check_text(tokenizer, text.substr(0, 64));
  } catch (const qround::Error& error) {
    require(is_read || error.file() == "fuzz.json");
  }
  return 0;
}
