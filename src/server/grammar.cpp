#include "server/grammar.h"

#include <algorithm>

namespace qround::server {
namespace {

bool all_rules(const GrammarSequence& sequence, const std::vector<bool>& marked) {
  return std::all_of(sequence.begin(), sequence.end(), [&](const GrammarItem& item) {
    return item.kind == GrammarItem::Kind::bytes || marked[item.index];
  });
}

// Rules that produce some finite text.
std::vector<bool> productive_rules(const Grammar& grammar) {
  std::vector<bool> productive(grammar.rules.size(), false);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t r = grammar.rules.size(); r-- > 0;) {
      if (productive[r]) continue;
      const auto& alternatives = grammar.rules[r];
      productive[r] = std::any_of(alternatives.begin(), alternatives.end(),
                                  [&](const auto& a) { return all_rules(a, productive); });
      changed = changed || productive[r];
    }
  }
  return productive;
}

// Rules that may produce no text at all.
std::vector<bool> nullable_rules(const Grammar& grammar) {
  const auto vanishes = [](const GrammarSequence& sequence, const std::vector<bool>& nullable) {
    return std::all_of(sequence.begin(), sequence.end(), [&](const GrammarItem& item) {
      return item.kind == GrammarItem::Kind::rule && nullable[item.index];
    });
  };
  std::vector<bool> nullable(grammar.rules.size(), false);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t r = grammar.rules.size(); r-- > 0;) {
      if (nullable[r]) continue;
      const auto& alternatives = grammar.rules[r];
      nullable[r] = std::any_of(alternatives.begin(), alternatives.end(),
                                [&](const auto& a) { return vanishes(a, nullable); });
      changed = changed || nullable[r];
    }
  }
  return nullable;
}

// Rules that can stand at the very beginning of rule `r`.
std::vector<uint32_t> first_rules(const Grammar& grammar, uint32_t r,
                                  const std::vector<bool>& nullable) {
  std::vector<uint32_t> first;
  for (const GrammarSequence& sequence : grammar.rules[r]) {
    for (const GrammarItem& item : sequence) {
      if (item.kind == GrammarItem::Kind::bytes) break;
      first.push_back(item.index);
      if (!nullable[item.index]) break;
    }
  }
  return first;
}

// Depth-first search for a circle, without recursion: schemas may be long chains.
bool has_circle(const Grammar& grammar) {
  enum class Mark : uint8_t { unseen, open, done };
  const std::vector<bool> nullable = nullable_rules(grammar);
  std::vector<Mark> marks(grammar.rules.size(), Mark::unseen);
  struct Visit {
    uint32_t rule;
    std::vector<uint32_t> next;
  };
  for (uint32_t r = 0; r < grammar.rules.size(); ++r) {
    if (marks[r] != Mark::unseen) continue;
    std::vector<Visit> path;
    const auto enter = [&](uint32_t rule) {
      marks[rule] = Mark::open;
      path.push_back({rule, first_rules(grammar, rule, nullable)});
    };
    enter(r);
    while (!path.empty()) {
      if (path.back().next.empty()) {
        marks[path.back().rule] = Mark::done;
        path.pop_back();
        continue;
      }
      const uint32_t next = path.back().next.back();
      path.back().next.pop_back();
      if (marks[next] == Mark::open) return true;
      if (marks[next] == Mark::unseen) enter(next);
    }
  }
  return false;
}

}  // namespace

uint32_t Grammar::add_rule(std::vector<GrammarSequence> alternatives) {
  rules.push_back(std::move(alternatives));
  return static_cast<uint32_t>(rules.size() - 1);
}

GrammarItem Grammar::bytes(const ByteSet& set, uint32_t plain_run) {
  const auto found = std::find(sets.begin(), sets.end(), set);
  const auto index = static_cast<uint32_t>(found - sets.begin());
  if (found == sets.end()) sets.push_back(set);
  return {GrammarItem::Kind::bytes, index, plain_run};
}

void Grammar::append_text(std::string_view text, GrammarSequence& sequence) {
  for (const char c : text) sequence.push_back(bytes(one_byte(c)));
}

size_t Grammar::size() const {
  size_t items = 0;
  for (const auto& alternatives : rules) {
    for (const GrammarSequence& sequence : alternatives) items += sequence.size() + 1;
  }
  return items;
}

GrammarFlaw check_grammar(Grammar& grammar) {
  const std::vector<bool> productive = productive_rules(grammar);
  if (!productive[grammar.root]) return GrammarFlaw::endless;
  for (auto& alternatives : grammar.rules) {
    std::erase_if(alternatives, [&](const auto& a) { return !all_rules(a, productive); });
  }
  return has_circle(grammar) ? GrammarFlaw::circular : GrammarFlaw::none;
}

ByteSet byte_range(unsigned char first, unsigned char last) {
  ByteSet set;
  for (unsigned byte = first; byte <= last; ++byte) set.set(byte);
  return set;
}

ByteSet one_byte(char byte) {
  ByteSet set;
  set.set(static_cast<unsigned char>(byte));
  return set;
}

}  // namespace qround::server
