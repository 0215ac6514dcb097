#include "server/output_constraint.h"

#include <cmath>
#include <limits>
#include <unordered_map>

#include "server/json_grammar.h"

namespace qround::server {
namespace {

constexpr size_t kMaxMasks = 256;
constexpr size_t kMaxStates = 200'000;

class Constraint {
 public:
  Constraint(const ServedModel& model, ConstraintOptions options)
      : tries_(model.tries),
        tokenizer_(model.tokenizer),
        stop_tokens_(model.stop_tokens),
        options_(std::move(options)),
        matcher_(options_.grammar),
        state_(matcher_.start()),
        phase_(options_.begins_after.empty() ? Phase::inside : Phase::before) {}

  void apply(std::span<const int32_t> output, std::span<float> logits) {
    for (; seen_ < output.size(); ++seen_) take(tokenizer_.id_to_token(output[seen_]));
    switch (phase_) {
      case Phase::before:
        forbid_stops(logits);
        return;
      case Phase::inside:
        mask(logits);
        return;
      case Phase::after:
        return;
    }
  }

 private:
  enum class Phase { before, inside, after };

  void take(std::string_view bytes) {
    if (phase_ == Phase::before) {
      before_ += bytes;
      const size_t tag = before_.find(options_.begins_after);
      if (tag == std::string::npos) {
        const size_t keep = std::min(before_.size(), options_.begins_after.size() - 1);
        before_.erase(0, before_.size() - keep);
        return;
      }
      phase_ = Phase::inside;
      const std::string rest = before_.substr(tag + options_.begins_after.size());
      before_.clear();
      return take(rest);
    }
    if (phase_ == Phase::after) return;
    for (const char byte : bytes) {
      const auto next = matcher_.advance(state_, static_cast<uint8_t>(byte));
      if (next == GrammarMatcher::kDead) break;  // bytes after "</think>" in the same token
      state_ = next;
    }
    if (options_.free_afterwards && matcher_.accepts(state_)) phase_ = Phase::after;
    if (matcher_.states() > kMaxStates) {
      state_ = matcher_.forget_all_but(state_);
      masks_.clear();
    }
  }

  void forbid_stops(std::span<float> logits) const {
    for (const int32_t token : stop_tokens_) {
      if (static_cast<size_t>(token) < logits.size()) logits[static_cast<size_t>(token)] = kNever;
    }
  }

  const TokenMask& mask_of_state() {
    if (const auto known = masks_.find(state_); known != masks_.end()) return known->second;
    if (masks_.size() >= kMaxMasks) masks_.clear();
    TokenMask mask = tries_->allowed(matcher_, state_);
    const bool stuck = mask.none();
    if ((matcher_.accepts(state_) && !options_.free_afterwards) || stuck) {
      for (const int32_t token : stop_tokens_) mask.set(token);
    }
    return masks_.emplace(state_, std::move(mask)).first->second;
  }

  void mask(std::span<float> logits) {
    const std::vector<uint64_t>& words = mask_of_state().words();
    for (size_t begin = 0; begin < logits.size(); begin += 64) {
      const uint64_t word = begin / 64 < words.size() ? words[begin / 64] : 0;
      if (word == ~uint64_t{0}) continue;
      const size_t end = std::min(begin + 64, logits.size());
      for (size_t i = begin; i < end; ++i) {
        if ((word >> (i - begin) & 1) == 0) logits[i] = kNever;
      }
    }
  }

  static constexpr float kNever = -std::numeric_limits<float>::infinity();

  const std::shared_ptr<const TokenTries> tries_;
  const Tokenizer& tokenizer_;
  const std::vector<int32_t> stop_tokens_;
  const ConstraintOptions options_;
  GrammarMatcher matcher_;
  GrammarMatcher::State state_;
  Phase phase_;
  size_t seen_ = 0;
  std::string before_;  // the end of the free text, as much as may begin the tag
  std::unordered_map<GrammarMatcher::State, TokenMask> masks_;
};

// "NAME>\n" of one of the functions.
Grammar function_names(const std::vector<Tool>& tools) {
  Grammar grammar;
  std::vector<GrammarSequence> names;
  for (const Tool& tool : tools) grammar.append_text(tool.name + ">\n", names.emplace_back());
  grammar.root = grammar.add_rule(std::move(names));
  return grammar;
}

}  // namespace

ConstrainHook constrain(const ServedModel& model, ConstraintOptions options) {
  auto constraint = std::make_shared<Constraint>(model, std::move(options));
  return [constraint](std::span<const int32_t> output, std::span<float> logits) {
    constraint->apply(output, logits);
  };
}

ConstrainHook format_constraint(const ServedModel& model, const GenerationParameters& parameters,
                                std::string begins_after) {
  switch (parameters.format) {
    case GenerationParameters::Format::text:
      return nullptr;
    case GenerationParameters::Format::json_object:
      return constrain(model,
                       {.grammar = json_object_grammar(), .begins_after = std::move(begins_after)});
    case GenerationParameters::Format::json_schema:
      return constrain(model, {.grammar = json_schema_grammar(parameters.schema),
                               .begins_after = std::move(begins_after)});
  }
  return nullptr;
}

ConstrainHook chat_constraint(const ServedModel& model, const ChatRequest& chat,
                              const ChatPrompt& prompt) {
  // The prompt ends where the function's name belongs.
  if (prompt.begun_call.ends_with('=')) {
    return constrain(model, {.grammar = function_names(chat.tools.tools), .free_afterwards = true});
  }
  return format_constraint(model, chat.parameters, prompt.in_reasoning ? "</think>" : "");
}

}  // namespace qround::server
