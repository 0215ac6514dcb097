#include "ops/packed_codes.h"

#include <gtest/gtest.h>

#include "base/half.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

class PackedCodes : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(PackedCodes);

TEST_P(PackedCodes, StandForCodesTimesTheirGroupsScale) {
  RandomValues random(1);
  for (const int64_t group : {32, 128}) {
    const int64_t count = 600 * group;
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random.bits() & 15);
    std::vector<uint16_t> scales(static_cast<size_t>(count / group));
    for (uint16_t& scale : scales) scale = f32_to_f16(random.normal(1)[0]);
    OnBackend on(table());
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < codes.size(); i += 2)
      bytes.push_back(static_cast<uint8_t>(codes[i] + 16 * codes[i + 1]));
    const auto packed = on.copy_of(bytes);
    const auto of_scales = on.copy_of(scales);
    const auto value = [&](size_t i) {
      return f16_to_f32(scales[i / static_cast<size_t>(group)]) *
             static_cast<float>(int{codes[i]} - 8);
    };
    auto f32 = on.nans(codes.size());
    RoundedValuesArgs args{.packed = packed.data(),
                           .scales = of_scales.data(),
                           .dtype = DType::f32,
                           .values = f32.data(),
                           .count = count,
                           .group_size = group};
    table().rounded_values(args, on.context);
    const auto values = f32.to_vector();
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], value(i));
    Buffer<uint16_t> bf16(on.memory, count);
    args.dtype = DType::bf16;
    args.values = bf16.data();
    table().rounded_values(args, on.context);
    const auto rounded = bf16.to_vector();
    for (size_t i = 0; i < rounded.size(); ++i) ASSERT_EQ(rounded[i], f32_to_bf16(value(i)));
  }
}

}  // namespace
}  // namespace qround::ops
