#include "tokenizer/tokenizer.h"

#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "tokenizer/byte_pair_merger.h"
#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer_spec.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"
#include "tokenizer/word_splitter.h"

namespace qround {
namespace {

constexpr size_t kLongestText = INT32_MAX;  // bytes between two added tokens

// What one call of encode needs to itself.
struct Scratch {
  WordCache cache;
  BytePairMerger::Scratch merger;
  std::string normalized;
  std::vector<std::string_view> words;
};

// Lends a Scratch to each running call and keeps it, with the words it remembers, for later ones.
class ScratchPool {
 public:
  class Loan {
   public:
    explicit Loan(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Loan() { pool_.give_back(std::move(scratch_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Scratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

 private:
  std::unique_ptr<Scratch> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

std::array<int32_t, 256> byte_ids_of(const Vocabulary& vocabulary) {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    ids[byte] = vocabulary.find({&c, 1}).value_or(-1);
  }
  return ids;
}

}  // namespace

struct Tokenizer::State {
  explicit State(const TokenizerSpec& spec);

  void encode_raw(std::string_view text, ParseTokens parse, Scratch& scratch,
                  std::vector<int32_t>& out) const;
  void encode_plain(std::string_view text, ParseTokens parse, Scratch& scratch,
                    std::vector<int32_t>& out) const;
  void encode_words(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const;

  bool nfc;
  bool ignore_merges;
  Vocabulary vocabulary;
  std::array<int32_t, 256> byte_ids;
  BytePairMerger merger;
  WordSplitter splitter;
  std::vector<AddedToken> added_tokens;
  std::unordered_map<std::string_view, int32_t> added_ids;  // into added_tokens
  AddedTokenMatcher raw_tokens, normalized_tokens;
  std::vector<bool> special;  // by id
  mutable ScratchPool pool;
};

Tokenizer::State::State(const TokenizerSpec& spec)
    : nfc(spec.nfc),
      ignore_merges(spec.ignore_merges),
      vocabulary(spec),
      byte_ids(byte_ids_of(vocabulary)),
      merger(byte_ids, spec.merges),
      splitter(spec.split_patterns),
      added_tokens(spec.added_tokens),
      special(vocabulary.size()) {
  std::string buffer;
  for (const AddedToken& token : added_tokens) {
    const bool in_nfc = token.normalized && nfc;
    const std::string_view pattern = in_nfc ? to_nfc(token.content, buffer) : token.content;
    (token.normalized ? normalized_tokens : raw_tokens).add(pattern, token);
    added_ids.emplace(token.content, token.id);
    // As in the reference, a special token that normalizing changes is never skipped.
    special[token.id] = token.special && pattern == token.content;
  }
}

// Cuts the matches of `matcher` out of the text; on_text gets what lies between, in order.
template <class OnText>
static void cut_tokens(const AddedTokenMatcher& matcher, std::string_view text, ParseTokens parse,
                       std::vector<int32_t>& out, OnText on_text) {
  size_t done = 0;
  for (const AddedTokenMatcher::Match& match : matcher.find(text, parse)) {
    if (done < match.begin) on_text(text.substr(done, match.begin - done));
    out.push_back(match.id);
    done = match.end;
  }
  if (done < text.size()) on_text(text.substr(done));
}

void Tokenizer::State::encode_raw(std::string_view text, ParseTokens parse, Scratch& scratch,
                                  std::vector<int32_t>& out) const {
  cut_tokens(raw_tokens, text, parse, out,
             [&](std::string_view plain) { encode_plain(plain, parse, scratch, out); });
}

void Tokenizer::State::encode_plain(std::string_view text, ParseTokens parse, Scratch& scratch,
                                    std::vector<int32_t>& out) const {
  if (nfc) text = to_nfc(text, scratch.normalized);
  if (text.size() > kLongestText) {
    throw Error("the text is too long to be tokenized in one piece")
        .expected("less than 2 GiB")
        .actual(std::to_string(text.size()) + " bytes");
  }
  cut_tokens(normalized_tokens, text, parse, out,
             [&](std::string_view plain) { encode_words(plain, scratch, out); });
}

void Tokenizer::State::encode_words(std::string_view text, Scratch& scratch,
                                    std::vector<int32_t>& out) const {
  if (const FamilySplitter* family = splitter.family()) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = family->word_end(text, begin);
      encode_word(text.substr(begin, end - begin), scratch, out);
      begin = end;
    }
    return;
  }
  splitter.split(text, scratch.words);
  for (const std::string_view word : scratch.words) encode_word(word, scratch, out);
}

void Tokenizer::State::encode_word(std::string_view word, Scratch& scratch,
                                   std::vector<int32_t>& out) const {
  if (word.size() == 1) {
    const int32_t id = byte_ids[static_cast<unsigned char>(word.front())];
    if (id >= 0) out.push_back(id);
    return;
  }
  const bool cached = word.size() <= WordCache::kLongestWord;
  if (cached) {
    const std::span<const int32_t> ids = scratch.cache.find(word);
    if (!ids.empty()) {
      out.insert(out.end(), ids.begin(), ids.end());
      return;
    }
  }
  const size_t n_before = out.size();
  std::optional<int32_t> whole;
  if (ignore_merges && word.size() <= vocabulary.longest_token()) whole = vocabulary.find(word);
  if (whole) {
    out.push_back(*whole);
  } else {
    merger.encode(word, scratch.merger, out);
  }
  if (cached) scratch.cache.put(word, std::span(out).subspan(n_before));
}

Tokenizer Tokenizer::load(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "tokenizer.json";
  std::error_code unreadable;  // parse_file tells why
  if (!std::filesystem::exists(file, unreadable) && !unreadable) {
    throw Error("the directory has no tokenizer.json")
        .file(file)
        .hint("save_pretrained of transformers' fast tokenizers writes one");
  }
  TokenizerSpec spec = read_tokenizer_spec(Json::parse_file(file), file);
  const std::filesystem::path config_file = directory / "tokenizer_config.json";
  if (std::filesystem::exists(config_file, unreadable)) {
    add_tokens_of_config(Json::parse_file(config_file), config_file, spec);
  }
  try {
    return Tokenizer(spec);
  } catch (Error& error) {
    throw error.file(file);
  }
}

Tokenizer Tokenizer::from_json(const Json& tokenizer, const std::filesystem::path& file) {
  const TokenizerSpec spec = read_tokenizer_spec(tokenizer, file);
  try {
    return Tokenizer(spec);
  } catch (Error& error) {
    throw error.file(file);
  }
}

Tokenizer::Tokenizer(const TokenizerSpec& spec) : state_(std::make_unique<State>(spec)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&& other) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&& other) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, ParseTokens parse) const {
  std::vector<int32_t> ids;
  std::string repaired;
  if (!is_utf8(text)) {
    repaired = to_utf8_lossy(text);
    text = repaired;
  }
  ScratchPool::Loan scratch(state_->pool);
  state_->encode_raw(text, parse, *scratch, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!skip_special || !is_special(id)) bytes += id_to_token(id);
  }
  return is_utf8(bytes) ? bytes : to_utf8_lossy(bytes);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view bytes) const {
  const auto added = state_->added_ids.find(bytes);
  return added != state_->added_ids.end() ? added->second : state_->vocabulary.find(bytes);
}

std::string_view Tokenizer::id_to_token(int32_t id) const { return state_->vocabulary.bytes(id); }

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < state_->special.size() && state_->special[id];
}

const std::vector<AddedToken>& Tokenizer::added_tokens() const { return state_->added_tokens; }

size_t Tokenizer::vocab_size() const { return state_->vocabulary.size(); }

}  // namespace qround
