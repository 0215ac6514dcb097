#include "base/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace qround {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kBarPeriod = std::chrono::milliseconds(100);
constexpr nanoseconds kLinePeriod = std::chrono::seconds(5);
constexpr double kSettledSeconds = 0.5;  // earlier a rate says little
constexpr int kTitleWidth = 10;
constexpr int kWidestBar = 30;

}  // namespace

std::string bytes_text(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) value /= 1000, ++unit;
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string duration_text(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

Progress::Progress(ProgressSink sink, Clock clock)
    : sink_(std::move(sink)), clock_(std::move(clock)) {}

nanoseconds Progress::now() const {
  return clock_ ? clock_() : std::chrono::steady_clock::now().time_since_epoch();
}

double Progress::elapsed_seconds() const {
  return std::chrono::duration<double>(now() - started_).count();
}

void Progress::start(std::string_view title, uint64_t total, Unit unit) {
  const std::lock_guard lock(mutex_);
  title_ = title;
  status_.clear();
  unit_ = unit;
  total_ = total;
  done_ = 0;
  started_ = shown_ = now();
  if (sink_.write && sink_.terminal) draw_bar();
}

void Progress::advance(uint64_t amount) {
  const std::lock_guard lock(mutex_);
  done_ += amount;
  if (!sink_.write || title_.empty()) return;
  const nanoseconds time = now();
  if (time - shown_ < (sink_.terminal ? kBarPeriod : kLinePeriod)) return;
  shown_ = time;
  sink_.terminal ? draw_bar() : write_plain();
}

void Progress::status(std::string_view text) {
  const std::lock_guard lock(mutex_);
  status_ = text;
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (title_.empty()) return;
  if (sink_.write) {
    const std::string summary = fmt::format("{} in {}, {}", amount_text(done_),
                                            duration_text(elapsed_seconds()), rate_text());
    if (bar_is_drawn_) sink_.write("\r\x1b[K");
    if (sink_.terminal) {
      sink_.write(fmt::format("{:<{}}{}\n", title_, kTitleWidth, summary));
    } else {
      sink_.write(fmt::format("{}: {}\n", title_, summary));
    }
  }
  bar_is_drawn_ = false;
  title_.clear();
}

void Progress::cancel() {
  const std::lock_guard lock(mutex_);
  if (bar_is_drawn_) sink_.write("\r\x1b[K");
  bar_is_drawn_ = false;
  title_.clear();
}

void Progress::line(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (!sink_.write) return;
  if (bar_is_drawn_) sink_.write("\r\x1b[K");
  sink_.write(fmt::format("{}\n", text));
  if (bar_is_drawn_) draw_bar();
}

std::string Progress::amount_text(uint64_t amount) const {
  return unit_ == Unit::bytes ? bytes_text(amount) : fmt::format("{}", amount);
}

std::string Progress::rate_text() const {
  const double rate = static_cast<double>(done_) / std::max(elapsed_seconds(), 1e-9);
  if (unit_ == Unit::bytes) return bytes_text(static_cast<uint64_t>(rate)) + "/s";
  return fmt::format("{:.3g}/s", rate);
}

std::string Progress::time_left_text() const {
  const double elapsed = elapsed_seconds();
  if (done_ == 0 || elapsed < kSettledSeconds) return "";
  const double left =
      elapsed / static_cast<double>(done_) * static_cast<double>(total_ - std::min(done_, total_));
  return duration_text(left) + " left";
}

void Progress::draw_bar() {
  const double share =
      total_ == 0 ? 1 : std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const std::string numbers =
      fmt::format("{:3.0f}%  {} of {}  {}  {}", std::floor(share * 100), amount_text(done_),
                  amount_text(total_), rate_text(), time_left_text()) +
      (status_.empty() ? "" : "  " + status_);
  const int width =
      std::clamp(sink_.columns - kTitleWidth - 5 - static_cast<int>(numbers.size()), 0, kWidestBar);
  const int filled = static_cast<int>(share * width);
  std::string bar(static_cast<size_t>(width), ' ');
  std::fill_n(bar.begin(), filled, '=');
  if (filled > 0 && filled < width) bar[static_cast<size_t>(filled) - 1] = '>';
  std::string text = fmt::format("{:<{}}[{}] {}", title_, kTitleWidth, bar, numbers);
  if (static_cast<int>(text.size()) >= sink_.columns)
    text.resize(static_cast<size_t>(std::max(sink_.columns - 1, 0)));
  sink_.write("\r" + text + "\x1b[K");
  bar_is_drawn_ = true;
}

void Progress::write_plain() {
  const uint64_t percent = total_ == 0 ? 100 : std::min(done_, total_) * 100 / total_;
  const std::string left = time_left_text();
  sink_.write(fmt::format("{}: {}%, {} of {}, {}{}{}{}{}\n", title_, percent, amount_text(done_),
                          amount_text(total_), rate_text(), left.empty() ? "" : ", ", left,
                          status_.empty() ? "" : "; ", status_));
}

}  // namespace qround
