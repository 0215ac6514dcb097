#include "report/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "report/html_text.h"

namespace qround::report {
namespace {

// The drawing area, in SVG units.
constexpr double kWidth = 720, kHeight = 260;
constexpr double kLeft = 64, kRight = 16, kTop = 12, kBottom = 40;
constexpr double kPlotWidth = kWidth - kLeft - kRight, kPlotHeight = kHeight - kTop - kBottom;

std::string open_svg(const ChartText& text, double height = kHeight) {
  return fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><title>{}</title>\n", kWidth,
      height, escaped(text.title), escaped(text.title));
}

std::string axis_names(const ChartText& text) {
  return fmt::format(
      "<text class=\"axis\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>"
      "<text class=\"axis\" transform=\"translate(12 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>\n",
      kLeft + kPlotWidth / 2, kHeight - 6, escaped(text.x_axis), kTop + kPlotHeight / 2,
      escaped(text.y_axis));
}

// A scale from values to the vertical place, with its marks.
struct Scale {
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<double> marks;

  double place(double value) const {
    const double share = logarithmic ? std::log10(value / low) / std::log10(high / low)
                                     : (value - low) / (high - low);
    return kTop + kPlotHeight * (1 - share);
  }
};

// 1, 2 or 5 times a power of ten, so that about five steps cover `range`.
double step_of(double range) {
  const double rough = range / 5, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10 * power;
}

Scale linear_scale(double high) {
  Scale scale;
  const double step = step_of(high > 0 ? high : 1);
  scale.high = step * std::ceil((high > 0 ? high : 1) / step - 1e-9);
  for (double mark = 0; mark < scale.high + step / 2; mark += step) scale.marks.push_back(mark);
  return scale;
}

Scale logarithmic_scale(double low, double high) {
  Scale scale{.low = std::pow(10, std::floor(std::log10(low))),
              .high = std::pow(10, std::ceil(std::log10(high))),
              .logarithmic = true};
  if (scale.high <= scale.low) scale.high = scale.low * 10;
  for (double mark = scale.low; mark < scale.high * 1.5; mark *= 10) scale.marks.push_back(mark);
  return scale;
}

std::string mark_text(double mark) {
  return mark >= 1000 ? fmt::format("{:.0f}", mark) : fmt::format("{:.3g}", mark);
}

std::string grid(const Scale& scale) {
  std::string svg;
  for (const double mark : scale.marks) {
    const double y = scale.place(mark);
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
        kLeft, kWidth - kRight, y, y, kLeft - 6, y + 4, mark_text(mark));
  }
  return svg;
}

std::string legend(const std::vector<Series>& series) {
  if (series.size() < 2) return "";
  std::string html = "<p class=\"legend\">";
  for (size_t i = 0; i < series.size(); ++i)
    html += fmt::format("<span class=\"key c{}\"></span>{} ", i, escaped(series[i].name));
  return html + "</p>\n";
}

std::string figure(const ChartText& text, const std::vector<Series>& series,
                   const std::string& svg) {
  return fmt::format("<figure><figcaption>{}</figcaption>\n{}{}</svg></figure>\n",
                     escaped(text.title), legend(series), svg);
}

bool drawable(double value, bool logarithmic) {
  return std::isfinite(value) && (!logarithmic || value > 0);
}

Scale scale_of(const std::vector<Series>& series, bool logarithmic) {
  double low = INFINITY, high = 0;
  for (const Series& one : series)
    for (const double value : one.values)
      if (drawable(value, logarithmic)) {
        low = std::min(low, value);
        high = std::max(high, value);
      }
  return logarithmic && std::isfinite(low) ? logarithmic_scale(low, high) : linear_scale(high);
}

// Which of `count` labels are written: about twelve.
bool is_labelled(size_t index, size_t count) {
  return index % std::max<size_t>(1, (count + 11) / 12) == 0;
}

std::string x_label(double x, std::string_view label) {
  return fmt::format(
      "<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x,
      kHeight - kBottom + 16, escaped(label));
}

}  // namespace

std::string line_chart(const ChartText& text, const std::vector<Series>& series, bool logarithmic) {
  size_t count = 0;
  for (const Series& one : series) count = std::max(count, one.values.size());
  const Scale scale = scale_of(series, logarithmic);
  const auto x_of = [&](size_t index) {
    return kLeft + kPlotWidth * (static_cast<double>(index) + 0.5) / static_cast<double>(count);
  };
  std::string svg = open_svg(text) + grid(scale) + axis_names(text);
  for (size_t i = 0; i < count; ++i)
    if (is_labelled(i, count)) svg += x_label(x_of(i), std::to_string(i));
  for (size_t which = 0; which < series.size(); ++which) {
    std::string points, marks;
    for (size_t i = 0; i < series[which].values.size(); ++i) {
      const double value = series[which].values[i];
      if (!drawable(value, scale.logarithmic)) continue;
      points += fmt::format("{:.1f},{:.1f} ", x_of(i), scale.place(value));
      marks += fmt::format(
          "<circle class=\"c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{} {}: "
          "{}</title></circle>",
          which, x_of(i), scale.place(value), escaped(series[which].name), i, value);
    }
    svg += fmt::format("<polyline class=\"line c{}\" points=\"{}\"/>{}\n", which, points, marks);
  }
  return figure(text, series, svg);
}

std::string bar_chart(const ChartText& text, const std::vector<std::string>& labels,
                      const std::vector<Series>& series) {
  const Scale scale = scale_of(series, false);
  const double group = kPlotWidth / static_cast<double>(std::max<size_t>(1, labels.size()));
  const double width = group * 0.8 / static_cast<double>(series.size());
  std::string svg = open_svg(text) + grid(scale) + axis_names(text);
  for (size_t label = 0; label < labels.size(); ++label) {
    const double left = kLeft + group * (static_cast<double>(label) + 0.1);
    if (is_labelled(label, labels.size())) svg += x_label(left + group * 0.4, labels[label]);
    for (size_t which = 0; which < series.size(); ++which) {
      const double value = series[which].values[label];
      if (!drawable(value, false)) continue;
      const double y = scale.place(value);
      svg += fmt::format(
          "<rect class=\"c{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">"
          "<title>{} {}: {}</title></rect>\n",
          which, left + width * static_cast<double>(which), y, std::max(0.5, width - 1),
          kTop + kPlotHeight - y, escaped(series[which].name), escaped(labels[label]), value);
    }
  }
  return figure(text, series, svg);
}

std::string range_chart(const ChartText& text, const std::vector<Range>& ranges) {
  constexpr double kRow = 20, kLabels = 150;
  const double height = kRow * static_cast<double>(ranges.size()) + 44;
  double high = 0;
  for (const Range& range : ranges) high = std::max(high, range.high);
  const Scale scale = linear_scale(high);
  const auto x_of = [&](double value) {
    return kLabels + (kWidth - kLabels - kRight) * value / scale.high;
  };
  std::string svg = open_svg(text, height);
  for (const double mark : scale.marks) {
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"4\" y2=\"{1:.1f}\"/>"
        "<text class=\"tick\" x=\"{0:.1f}\" y=\"{2:.1f}\" text-anchor=\"middle\">{3:.3g}</text>\n",
        x_of(mark), height - 38, height - 24, mark);
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    const Range& range = ranges[i];
    const double y = 4 + kRow * (static_cast<double>(i) + 0.5);
    svg += fmt::format(
        "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>"
        "<line class=\"line c0\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<circle class=\"c0\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {} to {}, "
        "mean {}</title></circle>\n",
        kLabels - 8, y + 4, escaped(range.label), x_of(range.low), x_of(range.high), y, y,
        x_of(range.middle), y, escaped(range.label), range.low, range.high, range.middle);
  }
  svg += fmt::format(
      "<text class=\"axis\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
      kLabels + (kWidth - kLabels - kRight) / 2, height - 6, escaped(text.x_axis));
  return figure(text, {}, svg);
}

std::string heat_map(const ChartText& text, const std::vector<std::vector<int64_t>>& counts) {
  constexpr int kLevels = 8;
  size_t columns = 0;
  for (const std::vector<int64_t>& row : counts) columns = std::max(columns, row.size());
  const double cell = kPlotWidth / static_cast<double>(std::max<size_t>(1, columns));
  const double row_height = std::clamp(cell, 6.0, 18.0);
  const double height = row_height * static_cast<double>(counts.size()) + kTop + kBottom;
  std::string svg = open_svg(text, height);
  // One path per level: ten thousand cells stay a small file.
  std::array<std::string, kLevels> paths;
  for (size_t row = 0; row < counts.size(); ++row) {
    const int64_t most =
        counts[row].empty() ? 0 : *std::max_element(counts[row].begin(), counts[row].end());
    for (size_t column = 0; column < counts[row].size(); ++column) {
      if (counts[row][column] == 0) continue;
      const int64_t level = (counts[row][column] * kLevels - 1) / most;
      fmt::format_to(std::back_inserter(paths[static_cast<size_t>(level)]), "M{} {}h1v1h-1z",
                     column, row);
    }
    if (is_labelled(row, counts.size())) {
      svg +=
          fmt::format("<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
                      kLeft - 6, kTop + row_height * (static_cast<double>(row) + 0.5) + 4, row);
    }
  }
  svg += fmt::format("<g transform=\"translate({} {}) scale({:.4f} {:.4f})\">", kLeft, kTop, cell,
                     row_height);
  for (size_t level = 0; level < paths.size(); ++level)
    svg += fmt::format("<path class=\"level{}\" d=\"{}\"/>", level, paths[level]);
  svg +=
      fmt::format("</g>\n<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{:.1f}\"/>",
                  kLeft, kTop, kPlotWidth, row_height * static_cast<double>(counts.size()));
  svg += fmt::format(
      "<text class=\"axis\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>"
      "<text class=\"axis\" transform=\"translate(12 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>\n",
      kLeft + kPlotWidth / 2, height - 10, escaped(text.x_axis),
      kTop + row_height * static_cast<double>(counts.size()) / 2, escaped(text.y_axis));
  return figure(text, {}, svg);
}

}  // namespace qround::report
