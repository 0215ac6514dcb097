// A stable sort that is safe with any comparison, also with one that is no order at all (nan).
#pragma once

#include <algorithm>
#include <vector>

namespace qround::jinja {

// `less` may throw.
template <typename T, typename Less>
void merge_sort(std::vector<T>& items, Less less) {
  const size_t size = items.size();
  std::vector<T> merged(size);
  for (size_t width = 1; width < size; width *= 2) {
    for (size_t begin = 0; begin < size; begin += 2 * width) {
      const auto at = [&](size_t index) {
        return items.begin() + static_cast<std::ptrdiff_t>(std::min(index, size));
      };
      std::merge(at(begin), at(begin + width), at(begin + width), at(begin + 2 * width),
                 merged.begin() + static_cast<std::ptrdiff_t>(begin), less);
    }
    items.swap(merged);
  }
}

}  // namespace qround::jinja
