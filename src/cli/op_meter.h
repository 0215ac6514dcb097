// Where the time of a forward pass goes: a backend whose operations measure themselves. On a device
// each is waited for, which takes time of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "ops/backend.h"

namespace qround {

enum class WorkPart { linear, head, experts, delta_net, attention, other };
inline constexpr std::array<std::string_view, 6> kPartNames = {
    "linear maps", "head", "experts", "delta net", "attention", "norms, gates, routing"};

// Seconds spent and bytes of weights and states that had to be read or written.
struct PartTotals {
  std::array<double, kPartNames.size()> seconds{};
  std::array<int64_t, kPartNames.size()> bytes{};

  int64_t all_bytes() const;
};

// One at a time in a process: operations are plain functions.
class OpMeter {
 public:
  explicit OpMeter(const ops::OpTable& measured);
  ~OpMeter();
  OpMeter(const OpMeter&) = delete;
  OpMeter& operator=(const OpMeter&) = delete;

  const ops::OpTable& table() const { return table_; }
  void reset() { totals_ = {}; }
  const PartTotals& totals() const { return totals_; }
  // Linear maps count as `part` from now on: WorkPart::linear, or WorkPart::head around the logits.
  void linear_is(WorkPart part) { linear_part_ = part; }

 private:
  template <WorkPart kPart, auto kMember, class... Args>
  static void run(Args... args);
  template <WorkPart kPart, auto kMember, class... Args>
  static constexpr auto wrap(void (*ops::OpTable::*)(Args...));

  const ops::OpTable& measured_;
  ops::OpTable table_;
  PartTotals totals_;
  WorkPart linear_part_ = WorkPart::linear;
};

}  // namespace qround
