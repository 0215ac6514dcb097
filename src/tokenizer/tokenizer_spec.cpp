#include "tokenizer/tokenizer_spec.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer_json_node.h"

namespace qround {
namespace {

using Node = TokenizerJsonNode;

// The pattern of a ByteLevel pre-tokenizer with use_regex, GPT-2's.
constexpr const char* kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The elements of a Sequence, or the node itself.
std::vector<Node> steps_of(const Node& node, std::string_view sequence_key) {
  if (node.at("type").string() != "Sequence") return {node};
  const Node sequence = node.at(sequence_key);
  std::vector<Node> steps;
  for (size_t i = 0; i < sequence.array().size(); ++i) {
    for (Node& step : steps_of(sequence.element(i), sequence_key)) steps.push_back(std::move(step));
  }
  return steps;
}

bool read_normalizer(const Node& root) {
  const std::optional<Node> normalizer = root.find("normalizer");
  if (!normalizer) return false;
  bool nfc = false;
  for (const Node& step : steps_of(*normalizer, "normalizers")) {
    const Node type = step.at("type");
    if (type.string() != "NFC") type.refuse("NFC", type.string());
    nfc = true;
  }
  return nfc;
}

std::string read_split(const Node& step) {
  const Node pattern = step.at("pattern");
  if (!pattern.find("Regex")) pattern.refuse("Regex", "another kind of pattern");
  const Node behavior = step.at("behavior");
  if (behavior.string() != "Isolated") behavior.refuse("Isolated", behavior.string());
  if (step.flag("invert", false)) step.refuse("invert: false", "invert: true");
  return pattern.at("Regex").string();
}

std::vector<std::string> read_pre_tokenizer(const Node& root) {
  const std::optional<Node> pre_tokenizer = root.find("pre_tokenizer");
  if (!pre_tokenizer) root.at("pre_tokenizer").refuse("ByteLevel", "null");
  std::vector<std::string> patterns;
  bool byte_level = false;
  for (const Node& step : steps_of(*pre_tokenizer, "pretokenizers")) {
    const Node type = step.at("type");
    if (byte_level) type.refuse("nothing after ByteLevel", type.string());
    if (type.string() == "Split") {
      patterns.push_back(read_split(step));
    } else if (type.string() == "ByteLevel") {
      byte_level = true;
      if (step.flag("add_prefix_space", true)) step.refuse("add_prefix_space: false", "true");
      if (step.flag("use_regex", true)) patterns.push_back(kByteLevelPattern);
    } else {
      type.refuse("Split or ByteLevel", type.string());
    }
  }
  if (!byte_level) pre_tokenizer->refuse("ByteLevel as the last step", "none");
  return patterns;
}

// Decoder and post-processor: nothing but ByteLevel.
void check_byte_level(const Node& node, std::string_view sequence_key) {
  for (const Node& step : steps_of(node, sequence_key)) {
    const Node type = step.at("type");
    if (type.string() != "ByteLevel") type.refuse("ByteLevel", type.string());
  }
}

void check_version(const Node& root) {
  const std::optional<Node> version = root.find("version");
  if (version && version->string() != "1.0") version->refuse("1.0", version->string());
}

void check_model_options(const Node& model) {
  const std::optional<Node> type = model.find("type");
  if (type && type->string() != "BPE") type->refuse("BPE", type->string());
  if (model.flag("byte_fallback", false)) model.refuse("byte_fallback: false", "true");
  if (const auto dropout = model.find("dropout"); dropout && !dropout->is_zero()) {
    dropout->refuse("no dropout", "dropout");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::optional<Node> affix = model.find(key);
    if (affix && !affix->string().empty()) affix->refuse("none", affix->string());
  }
}

std::vector<TokenizerSpec::Entry> read_vocabulary(const Node& model) {
  const Node vocab = model.at("vocab");
  std::vector<TokenizerSpec::Entry> entries;
  entries.reserve(vocab.object().size());
  std::vector<const std::string*> token_of;  // by id
  for (const auto& [token, id_value] : vocab.object()) {
    if (!id_value.is_int()) {
      throw vocab.error("model.vocab: the id of a token is no integer")
          .expected("an integer")
          .actual(fmt::format("{} for \"{}\"", id_value.type_name(), token));
    }
    const int32_t id = vocab.checked_id(id_value.as_int());
    if (static_cast<size_t>(id) >= token_of.size()) token_of.resize(static_cast<size_t>(id) + 1);
    if (token_of[id]) {
      throw vocab.error("model.vocab: two tokens have the same id")
          .actual(fmt::format("{}: \"{}\" and \"{}\"", id, *token_of[id], token));
    }
    token_of[id] = &token;
    entries.push_back({token, id});
  }
  return entries;
}

// Maps tokens to ids while merges are read. Refers to the vocabulary's strings.
using TokenIds = std::unordered_map<std::string_view, int32_t>;

// The two halves of "a b" or ["a", "b"]; nullopt for anything else.
std::optional<std::pair<std::string_view, std::string_view>> halves_of(const Json& merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.as_string();
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  if (!merge.is_array() || merge.as_array().size() != 2) return std::nullopt;
  const Json &left = merge.as_array()[0], &right = merge.as_array()[1];
  if (!left.is_string() || !right.is_string()) return std::nullopt;
  return std::pair<std::string_view, std::string_view>(left.as_string(), right.as_string());
}

// There are hundreds of thousands of merges: nothing is formatted unless one is wrong.
std::vector<TokenMerge> read_merges(const Node& model, const TokenIds& ids) {
  const Node node = model.at("merges");
  const Json::Array& merges = node.array();
  std::vector<TokenMerge> result;
  result.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    if (merges[i].is_string() && merges[i].as_string().starts_with("#version")) continue;
    const auto halves = halves_of(merges[i]);
    if (!halves) {
      throw node.error(fmt::format("model.merges[{}] is malformed", i))
          .expected("\"a b\" or [\"a\", \"b\"]")
          .actual(merges[i].dump());
    }
    const auto id_of = [&](std::string_view token) {
      const auto found = ids.find(token);
      if (found != ids.end()) return found->second;
      throw node
          .error(fmt::format("model.merges[{}] needs a token that is not in the vocabulary", i))
          .actual(token);
    };
    joined.assign(halves->first).append(halves->second);
    result.push_back({id_of(halves->first), id_of(halves->second), id_of(joined)});
  }
  return result;
}

// An unknown token would be needed only for a byte that is no token.
void check_unknown_token(const Node& model, const TokenIds& ids) {
  const std::optional<Node> unknown = model.find("unk_token");
  if (!unknown) return;
  for (int byte = 0; byte < 256; ++byte) {
    if (ids.contains(alphabet_character(static_cast<uint8_t>(byte)))) continue;
    unknown->refuse("no unknown token, or a vocabulary that has every byte", unknown->string());
  }
}

AddedToken read_added_token(const Node& node, int32_t id) {
  if (node.flag("single_word", false)) node.refuse("single_word: false", "true");
  AddedToken token{.id = id,
                   .content = node.at("content").string(),
                   .special = node.flag("special", false),
                   .normalized = node.flag("normalized", true),
                   .lstrip = node.flag("lstrip", false),
                   .rstrip = node.flag("rstrip", false)};
  if (token.content.empty())
    throw node.error("an added token is empty").actual(fmt::format("id {}", id));
  return token;
}

// Adds tokens to a spec, keeping ids and contents unique across vocabulary and added tokens.
class TokenRegister {
 public:
  // At most n_more tokens will be added.
  TokenRegister(TokenizerSpec& spec, size_t n_more) : spec_(&spec) {
    spec.added_tokens.reserve(spec.added_tokens.size() + n_more);  // ids_ points into the strings
    ids_.reserve(spec.vocabulary.size() + spec.added_tokens.size() + n_more);
    for (const TokenizerSpec::Entry& entry : spec.vocabulary) enter(entry.token, entry.id);
    for (const AddedToken& token : spec.added_tokens) {
      enter(token.content, token.id);
      added_.insert(token.content);
    }
  }

  // Does nothing when the same token was added before. Throws Error when its content has another id
  // already, or its id another content.
  void add(AddedToken token, const Node& node) {
    const auto known = ids_.find(token.content);
    if (known != ids_.end() && known->second != token.id) {
      throw node.error("a token has two ids")
          .actual(fmt::format("\"{}\": {} and {}", token.content, known->second, token.id));
    }
    const std::string* content = content_of(token.id);
    if (content && *content != token.content) {
      throw node.error("two tokens have the same id")
          .actual(fmt::format("{}: \"{}\" and \"{}\"", token.id, *content, token.content));
    }
    if (added_.contains(token.content)) return;
    const AddedToken& kept = spec_->added_tokens.emplace_back(std::move(token));
    enter(kept.content, kept.id);
    added_.insert(kept.content);
  }

 private:
  const std::string* content_of(int32_t id) const {
    return static_cast<size_t>(id) < contents_.size() ? contents_[id] : nullptr;
  }
  void enter(const std::string& content, int32_t id) {
    ids_.emplace(content, id);
    if (static_cast<size_t>(id) >= contents_.size()) contents_.resize(static_cast<size_t>(id) + 1);
    contents_[id] = &content;
  }

  TokenizerSpec* spec_;
  std::unordered_map<std::string_view, int32_t> ids_;
  std::vector<const std::string*> contents_;    // by id
  std::unordered_set<std::string_view> added_;  // contents of the added tokens
};

void read_added_tokens(const Node& root, TokenizerSpec& spec) {
  const std::optional<Node> added = root.find("added_tokens");
  if (!added) return;
  const size_t n_added = added->array().size();
  TokenRegister tokens(spec, n_added);
  for (size_t i = 0; i < n_added; ++i) {
    const Node node = added->element(i);
    tokens.add(read_added_token(node, node.at("id").id()), node);
  }
}

int32_t id_of_key(const std::string& key, const Node& node) {
  const bool is_number =
      !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
  if (!is_number)
    throw node.error("added_tokens_decoder has a key that is no token id").actual(key);
  return node.checked_id(std::stoll(key));
}

}  // namespace

TokenizerSpec read_tokenizer_spec(const Json& tokenizer, const std::filesystem::path& file) {
  const Node root(tokenizer, file);
  check_version(root);
  const Node model = root.at("model");
  check_model_options(model);

  TokenizerSpec spec;
  spec.nfc = read_normalizer(root);
  spec.split_patterns = read_pre_tokenizer(root);
  check_byte_level(root.at("decoder"), "decoders");
  if (const auto processor = root.find("post_processor"))
    check_byte_level(*processor, "processors");

  spec.ignore_merges = model.flag("ignore_merges", false);
  spec.vocabulary = read_vocabulary(model);
  TokenIds ids;
  ids.reserve(spec.vocabulary.size());
  for (const TokenizerSpec::Entry& entry : spec.vocabulary) ids.emplace(entry.token, entry.id);
  check_unknown_token(model, ids);
  spec.merges = read_merges(model, ids);
  read_added_tokens(root, spec);
  return spec;
}

void add_tokens_of_config(const Json& config, const std::filesystem::path& file,
                          TokenizerSpec& spec) {
  const Node root(config, file);
  const std::optional<Node> decoder = root.find("added_tokens_decoder");
  if (!decoder) return;
  TokenRegister tokens(spec, decoder->object().size());
  for (const auto& [key, value] : decoder->object()) {
    const Node node = decoder->at(key);
    tokens.add(read_added_token(node, id_of_key(key, node)), node);
  }
}

}  // namespace qround
