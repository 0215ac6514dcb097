// Charts as inline SVG. Colours are the page's classes c0, c1, c2 (series) and `level` (heat map),
// so that light, dark and print decide them in one place. Tooltips of points give the exact value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qround::report {

struct Series {
  std::string name;
  std::vector<double> values;  // NaN: no point
};

struct ChartText {
  std::string title;  // read aloud and shown as tooltip
  std::string x_axis, y_axis;
};

// One point per index. With `logarithmic`, values that are not positive are left out.
std::string line_chart(const ChartText& text, const std::vector<Series>& series, bool logarithmic);

// A group of bars per label, from zero. Many labels: only some are written.
std::string bar_chart(const ChartText& text, const std::vector<std::string>& labels,
                      const std::vector<Series>& series);

struct Range {
  std::string label;
  double low = 0, middle = 0, high = 0;
};
// A horizontal line from low to high with a mark in the middle, per label; the axis starts at 0.
std::string range_chart(const ChartText& text, const std::vector<Range>& ranges);

// Cells [rows][columns] of counts; a row's darkest cell is its largest. Empty cells stay blank.
std::string heat_map(const ChartText& text, const std::vector<std::vector<int64_t>>& counts);

}  // namespace qround::report
