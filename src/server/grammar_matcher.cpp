#include "server/grammar_matcher.h"

#include <algorithm>

namespace qround::server {
namespace {

uint64_t hash_of(const std::vector<uint32_t>& nodes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint32_t node : nodes) hash = (hash ^ node) * 0x100000001b3;
  return hash;
}

}  // namespace

GrammarMatcher::GrammarMatcher(const Grammar& grammar) : sets_(grammar.sets) {
  flatten(grammar);
  nodes_.push_back({});    // kBottom
  states_.emplace_back();  // kDead
  state_numbers_.emplace(hash_of({}), kDead);
  for (const uint32_t place : alternatives_[grammar.root]) expand({place, kBottom});
  start_ = intern_open();
}

void GrammarMatcher::flatten(const Grammar& grammar) {
  for (const auto& rule : grammar.rules) {
    std::vector<uint32_t>& firsts = alternatives_.emplace_back();
    for (const GrammarSequence& sequence : rule) {
      firsts.push_back(static_cast<uint32_t>(places_.size()));
      for (const GrammarItem& item : sequence) {
        const bool is_bytes = item.kind == GrammarItem::Kind::bytes;
        places_.push_back(
            {is_bytes ? Place::Kind::bytes : Place::Kind::rule, item.index, item.plain_run});
      }
      places_.push_back({});
    }
  }
}

GrammarMatcher::Node GrammarMatcher::intern(uint32_t place, Node below) {
  const auto [it, fresh] =
      node_numbers_.try_emplace(uint64_t{place} << 32 | below, static_cast<Node>(nodes_.size()));
  if (fresh) nodes_.push_back({place, below});
  return it->second;
}

void GrammarMatcher::expand(Frame frame) {
  pending_.push_back(frame);
  while (!pending_.empty()) {
    const Frame top = pending_.back();
    pending_.pop_back();
    const Place& place = places_[top.place];
    switch (place.kind) {
      case Place::Kind::bytes:
        open_.push_back(intern(top.place, top.below));
        break;
      case Place::Kind::end:
        if (top.below == kBottom) {
          open_.push_back(kBottom);
        } else {
          pending_.push_back(nodes_[top.below]);
        }
        break;
      case Place::Kind::rule: {
        // At the end of a sequence there is nothing to return to: loops written as rules that end
        // with themselves keep the stack flat.
        const bool last = places_[top.place + 1].kind == Place::Kind::end;
        const Node below = last ? top.below : intern(top.place + 1, top.below);
        for (const uint32_t first : alternatives_[place.index]) pending_.push_back({first, below});
        break;
      }
    }
  }
}

GrammarMatcher::State GrammarMatcher::intern_open() {
  std::sort(open_.begin(), open_.end());
  open_.erase(std::unique(open_.begin(), open_.end()), open_.end());
  const uint64_t hash = hash_of(open_);
  const auto [begin, end] = state_numbers_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (states_[it->second].nodes == open_) {
      open_.clear();
      return it->second;
    }
  }
  StateData data;
  data.accepts = !open_.empty() && open_.front() == kBottom;
  for (const Node node : open_) {
    if (node != kBottom) {
      data.plain_run = std::max(data.plain_run, places_[nodes_[node].place].plain_run);
    }
  }
  data.nodes = std::move(open_);
  open_.clear();
  const auto number = static_cast<State>(states_.size());
  states_.push_back(std::move(data));
  state_numbers_.emplace(hash, number);
  return number;
}

GrammarMatcher::State GrammarMatcher::advance(State state, uint8_t byte) {
  if (state == kDead) return kDead;
  const uint64_t key = uint64_t{state} << 8 | byte;
  if (const auto known = steps_.find(key); known != steps_.end()) return known->second;
  for (const Node node : states_[state].nodes) {
    if (node == kBottom) continue;
    const Frame frame = nodes_[node];
    if (sets_[places_[frame.place].index][byte]) expand({frame.place + 1, frame.below});
  }
  const State next = intern_open();
  steps_.emplace(key, next);
  return next;
}

GrammarMatcher::State GrammarMatcher::forget_all_but(State state) {
  StateData kept = states_[state];
  StateData first = states_[start_];
  states_.resize(1);
  state_numbers_.clear();
  steps_.clear();
  state_numbers_.emplace(hash_of({}), kDead);
  const auto keep = [this](const StateData& data) {
    open_ = data.nodes;
    return intern_open();
  };
  start_ = keep(first);
  return keep(kept);
}

}  // namespace qround::server
