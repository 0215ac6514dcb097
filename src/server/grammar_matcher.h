// Follows a text through a grammar, byte by byte.
//
// A state is the set of all ways to read the text so far; each way is a stack: a place in a rule
// and the places to return to. Stacks share their lower parts and states are numbered as they are
// first met, so a text that runs in circles (the characters of a string, the elements of a list)
// meets the same states again, and what is known of a state is found by its number:
// an automaton that is built where it is walked.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "server/grammar.h"

namespace qround::server {

// Not for several threads at once.
class GrammarMatcher {
 public:
  using State = uint32_t;
  static constexpr State kDead = 0;  // no text of the grammar begins so

  // `grammar` must have passed check_grammar.
  explicit GrammarMatcher(const Grammar& grammar);

  State start() const { return start_; }
  State advance(State state, uint8_t byte);

  bool accepts(State state) const { return states_[state].accepts; }
  // Characters of plain text that may follow, whatever they are; kEndlessRun: any number.
  uint32_t plain_run(State state) const { return states_[state].plain_run; }

  // Forgets what it learned but `state`; returns that state's new number. For very long texts.
  State forget_all_but(State state);
  size_t states() const { return states_.size(); }

 private:
  using Node = uint32_t;
  static constexpr Node kBottom = 0;  // the empty stack: the text is complete

  struct Place {
    enum class Kind : uint8_t { bytes, rule, end } kind = Kind::end;
    uint32_t index = 0;
    uint32_t plain_run = 0;
  };
  struct Frame {
    uint32_t place = 0;
    Node below = kBottom;
  };
  struct StateData {
    std::vector<Node> nodes;  // sorted; each at a place of bytes, or kBottom
    bool accepts = false;
    uint32_t plain_run = 0;
  };

  void flatten(const Grammar& grammar);
  Node intern(uint32_t place, Node below);
  // All places of bytes reachable from `frame` without a byte, into open_.
  void expand(Frame frame);
  State intern_open();

  std::vector<ByteSet> sets_;
  std::vector<Place> places_;                        // sequences, each with its end
  std::vector<std::vector<uint32_t>> alternatives_;  // of each rule: first places
  std::vector<Frame> nodes_;
  std::unordered_map<uint64_t, Node> node_numbers_;
  std::vector<StateData> states_;
  std::unordered_multimap<uint64_t, State> state_numbers_;  // by the hash of the nodes
  std::unordered_map<uint64_t, State> steps_;               // state << 8 | byte
  std::vector<Node> open_;
  std::vector<Frame> pending_;
  State start_ = kDead;
};

}  // namespace qround::server
