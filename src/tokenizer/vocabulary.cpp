#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <string>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer_spec.h"

namespace qround {

Vocabulary::Vocabulary(const TokenizerSpec& spec) {
  struct Place {
    int32_t id;
    size_t begin, size;
    bool in_model;
  };
  std::vector<Place> places;
  int32_t largest_id = -1;
  const auto store = [&](int32_t id, std::string_view bytes, bool in_model) {
    places.push_back({id, storage_.size(), bytes.size(), in_model});
    storage_.insert(storage_.end(), bytes.begin(), bytes.end());
    largest_id = std::max(largest_id, id);
  };
  for (const TokenizerSpec::Entry& entry : spec.vocabulary) {
    // A token with a character outside the byte alphabet decodes to itself but is never encoded to.
    const std::optional<std::string> bytes = bytes_in_alphabet(entry.token);
    store(entry.id, bytes ? *bytes : entry.token, bytes.has_value());
  }
  std::string nfc_buffer;
  for (const AddedToken& token : spec.added_tokens) {
    std::string_view content = token.content;
    if (token.normalized && spec.nfc) content = to_nfc(content, nfc_buffer);
    store(token.id, bytes_of_token(content), false);
  }

  tokens_.resize(static_cast<size_t>(largest_id + 1));
  for (const Place& place : places) {
    const std::string_view bytes(storage_.data() + place.begin, place.size);
    tokens_[place.id] = bytes;
    if (!place.in_model) continue;
    ids_.emplace(bytes, place.id);
    longest_ = std::max(longest_, bytes.size());
  }
}

std::optional<int32_t> Vocabulary::find(std::string_view bytes) const {
  const auto entry = ids_.find(bytes);
  if (entry == ids_.end()) return std::nullopt;
  return entry->second;
}

}  // namespace qround
