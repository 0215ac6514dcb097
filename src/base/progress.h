// What a long job shows while it runs: one bar on a terminal, plain lines elsewhere. It goes to a
// sink the command line provides (stderr); without a sink nothing is shown.
//
//   quantize  [=========>          ]  45%  2.3 GB of 5.1 GB  1.1 GB/s  2 s left    (terminal)
//   quantize: 45%, 2.3 GB of 5.1 GB, 1.1 GB/s, 2 s left                            (plain)
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace qround {

struct ProgressSink {
  std::function<void(std::string_view)> write;  // empty: silent. Text with its line ends.
  bool terminal = false;                        // the bar is redrawn in place
  int columns = 80;                             // of the terminal
};

// "612 B", "2.3 GB": decimal units, three digits at most.
std::string bytes_text(uint64_t bytes);
// "850 ms", "12 s", "3 min 20 s", "2 h 5 min".
std::string duration_text(double seconds);

// One phase after the other, each from start() to finish(). All members may be called from any
// thread.
class Progress {
 public:
  using Clock = std::function<std::chrono::nanoseconds()>;  // monotonic

  enum class Unit { bytes, items };

  Progress() = default;                                    // silent
  explicit Progress(ProgressSink sink, Clock clock = {});  // no clock: the steady one

  void start(std::string_view title, uint64_t total, Unit unit = Unit::bytes);
  void advance(uint64_t amount);
  void status(
      std::string_view text);        // what is being done; stands beside the figures until changed
  void finish();                     // leaves a last line: how much in which time
  void cancel();                     // ends the phase without a last line
  void line(std::string_view text);  // a lasting line; the bar stays below it

 private:
  std::chrono::nanoseconds now() const;
  double elapsed_seconds() const;
  std::string amount_text(uint64_t amount) const;
  std::string rate_text() const;
  std::string time_left_text() const;
  void draw_bar();
  void write_plain();

  std::mutex mutex_;
  ProgressSink sink_;
  Clock clock_;
  std::string title_;  // empty: no phase is open
  std::string status_;
  Unit unit_ = Unit::bytes;
  uint64_t total_ = 0, done_ = 0;
  std::chrono::nanoseconds started_{}, shown_{};
  bool bar_is_drawn_ = false;
};

}  // namespace qround
