#include "ops/packed_codes.h"

#include <algorithm>

#include "base/threads.h"

namespace qround::ops::cpu {
namespace {
constexpr int64_t kCodes = 1 << 15;  // a task's; a multiple of every group size
}

void rounded_values(const RoundedValuesArgs& args, const OpContext& context) {
  const auto tasks = static_cast<size_t>((args.count + kCodes - 1) / kCodes);
  parallel_for(context.threads, tasks, [&](size_t task, int) {
    const int64_t begin = static_cast<int64_t>(task) * kCodes;
    RoundedValuesArgs share = args;
    share.packed += begin / 2;
    share.scales += begin / args.group_size;
    share.values =
        static_cast<std::byte*>(args.values) + static_cast<size_t>(begin) * dtype_bytes(args.dtype);
    share.count = std::min(kCodes, args.count - begin);
    ref::rounded_values(share, context);
  });
}

}  // namespace qround::ops::cpu
