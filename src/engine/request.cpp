#include "engine/request.h"

#include <algorithm>

namespace qround {

std::vector<int64_t> ends_of_messages(std::span<const int32_t> tokens,
                                      std::span<const int32_t> end_tokens, size_t most) {
  std::vector<int64_t> ends;
  for (size_t i = tokens.size(); i > 0 && ends.size() < most; --i) {
    if (std::find(end_tokens.begin(), end_tokens.end(), tokens[i - 1]) != end_tokens.end())
      ends.push_back(static_cast<int64_t>(i));
  }
  return {ends.rbegin(), ends.rend()};
}

}  // namespace qround
