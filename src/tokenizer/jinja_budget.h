// Counts what one rendering spends and throws Error before a limit is passed.
//
// Work is counted in steps; memory in bytes produced, which never shrink again: simple,
// deterministic, and a bound for what can be alive at any time. Whoever builds something whose size
// a template chooses calls produce() first, so that nothing is allocated beyond the limit.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja_limits.h"

namespace qround::jinja {

class Budget {
 public:
  explicit Budget(const JinjaLimits& limits) : limits_(limits) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  void step(uint64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.max_steps) fail_steps();
  }
  // Reading `bytes` bytes of text, sixty-four to the step.
  void scan(size_t bytes) { step(bytes / 64); }
  void produce(size_t bytes) {
    if (bytes > limits_.max_produced_bytes - produced_bytes_) fail_produced();
    produced_bytes_ += bytes;
    step(1 + bytes / 64);
  }
  // `count` elements of `size` bytes each, without overflow.
  void produce(size_t count, size_t size) {
    if (size != 0 && count > limits_.max_produced_bytes / size) fail_produced();
    produce(count * size);
  }

  const JinjaLimits& limits() const { return limits_; }

  // One level of nesting for the lifetime of the object.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      if (budget_.depth_ >= budget_.limits_.max_depth) budget_.fail_depth();
      ++budget_.depth_;
    }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_produced() const;
  [[noreturn]] void fail_depth() const;

  JinjaLimits limits_;
  uint64_t steps_ = 0;
  size_t produced_bytes_ = 0;
  size_t depth_ = 0;
};

// A string under construction; every byte is charged before it is stored.
class TextBuilder {
 public:
  explicit TextBuilder(Budget& budget) : budget_(&budget) {}

  TextBuilder& append(std::string_view text) {
    budget_->produce(text.size());
    text_ += text;
    return *this;
  }
  TextBuilder& append(char c) { return append(std::string_view(&c, 1)); }
  TextBuilder& append(size_t count, std::string_view text);  // `text`, `count` times

  size_t size() const { return text_.size(); }
  std::string take() { return std::move(text_); }

 private:
  Budget* budget_;
  std::string text_;
};

}  // namespace qround::jinja
