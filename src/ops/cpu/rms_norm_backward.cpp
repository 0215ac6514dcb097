#include <cmath>

#include "ops/cpu/row_blocks.h"
#include "ops/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/rms_norm_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kL2Eps = 1e-6f;

HWY_ATTR float dot(const float* a, const float* b, int64_t count) {
  return sum_of_vectors(count, [&](auto d, int64_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i));
  });
}

HWY_ATTR float inverse_rms(const float* x, RmsNormShape shape) {
  return 1.0f / std::sqrt(dot(x, x, shape.width) / static_cast<float>(shape.width) + shape.eps);
}

// Rows [begin, end). dx = r (d - x̂ mean(d x̂)) with d = dy (1 + weight), x̂ = x r.
HWY_ATTR void zero_centered_rows(const ZeroCenteredRmsNormBackwardArgs& args, int64_t begin,
                                 int64_t end) {
  const int64_t width = args.shape.width;
  for (int64_t row = begin; row < end; ++row) {
    const float* x = args.x + row * width;
    const float* dy = args.dy + row * width;
    float* dx = args.dx + row * width;
    const auto gained = [&](auto d, int64_t i) HWY_ATTR {
      const auto gain = hn::Add(hn::Set(d, 1.0f), hn::LoadU(d, args.weight + i));
      return hn::Mul(hn::LoadU(d, dy + i), gain);
    };
    const float r = inverse_rms(x, args.shape);
    const float along = sum_of_vectors(width, [&](auto d, int64_t i) HWY_ATTR {
      return hn::Mul(gained(d, i), hn::LoadU(d, x + i));
    });
    const float of_x = along * r * r * r / static_cast<float>(width);
    for_each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
      auto change = hn::Mul(gained(d, i), hn::Set(d, r));
      change = hn::NegMulAdd(hn::LoadU(d, x + i), hn::Set(d, of_x), change);
      if (args.add_to_dx) change = hn::Add(hn::LoadU(d, dx + i), change);
      hn::StoreU(change, d, dx + i);
    });
  }
}

HWY_ATTR void gated_rows(const GatedRmsNormBackwardArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.shape.width;
  for (int64_t row = begin; row < end; ++row) {
    const float* x = args.x + row * width;
    const float* gate = args.gate + row * width;
    const float* dy = args.dy + row * width;
    float* dx = args.dx + row * width;
    float* d_gate = args.d_gate + row * width;
    const float r = inverse_rms(x, args.shape);
    const float along = sum_of_vectors(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto gained = hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, args.weight + i));
      const auto activated = silu(d, hn::LoadU(d, gate + i));
      return hn::Mul(hn::Mul(gained, activated), hn::LoadU(d, x + i));
    });
    const float of_x = along * r * r * r / static_cast<float>(width);
    for_each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto gained = hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, args.weight + i));
      const auto g = hn::LoadU(d, gate + i), s = sigmoid(d, g), activated = hn::Mul(g, s);
      const auto slope = hn::MulAdd(activated, hn::Sub(hn::Set(d, 1.0f), s), s);
      const auto value = hn::LoadU(d, x + i), factor = hn::Set(d, r);
      const auto change = hn::Mul(hn::Mul(gained, activated), factor);
      hn::StoreU(hn::Mul(hn::Mul(gained, hn::Mul(value, factor)), slope), d, d_gate + i);
      hn::StoreU(hn::NegMulAdd(value, hn::Set(d, of_x), change), d, dx + i);
    });
  }
}

HWY_ATTR void l2_tokens(const L2NormBackwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t)
    for (int64_t head = 0; head < args.heads; ++head) {
      const float* x = args.x + t * args.x_stride + head * args.width;
      const float* dy = args.dy + t * args.dy_stride + head * args.width;
      float* dx = args.dx + t * args.dx_stride + head * args.width;
      const float r = 1.0f / std::sqrt(dot(x, x, args.width) + kL2Eps);
      const float of_x = args.scale * r * r * r * dot(x, dy, args.width);
      for_each_vector(args.width, [&](auto d, int64_t i) HWY_ATTR {
        const auto straight = hn::Mul(hn::LoadU(d, dy + i), hn::Set(d, args.scale * r));
        hn::StoreU(hn::NegMulAdd(hn::LoadU(d, x + i), hn::Set(d, of_x), straight), d, dx + i);
      });
    }
}

HWY_ATTR void inverse_rms_rows(const float* x, RmsNormShape shape, int64_t begin, int64_t end,
                               float* factors) {
  for (int64_t row = begin; row < end; ++row)
    factors[row] = inverse_rms(x + row * shape.width, shape);
}

// d_weight[begin, end) += sum over rows of factors[row] * dy * x, and of silu(gate) where there is
// one.
HWY_ATTR void add_weight_gradient(const float* x, const float* gate, const float* dy,
                                  const float* factors, RmsNormShape shape, int64_t begin,
                                  int64_t end, float* d_weight) {
  for (int64_t row = 0; row < shape.rows; ++row) {
    const int64_t first = row * shape.width + begin;
    for_each_vector(end - begin, [&](auto d, int64_t i) HWY_ATTR {
      auto change = hn::Mul(hn::LoadU(d, x + first + i), hn::Set(d, factors[row]));
      change = hn::Mul(change, hn::LoadU(d, dy + first + i));
      if (gate != nullptr) change = hn::Mul(change, silu(d, hn::LoadU(d, gate + first + i)));
      float* to = d_weight + begin + i;
      hn::StoreU(hn::Add(hn::LoadU(d, to), change), d, to);
    });
  }
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(zero_centered_rows);
HWY_EXPORT(gated_rows);
HWY_EXPORT(l2_tokens);
HWY_EXPORT(inverse_rms_rows);
HWY_EXPORT(add_weight_gradient);

// Before dx is written, which may take the place of dy. Threads take columns: every sum runs over
// the rows in their order.
void weight_gradient(const float* x, const float* gate, const float* dy, RmsNormShape shape,
                     float* d_weight, const OpContext& context) {
  constexpr int64_t kColumns = 64;
  Workspace::Scope scope(context.workspace);
  const auto factors = scope.take<float>(static_cast<size_t>(shape.rows));
  for_row_blocks(context.threads, shape.rows, shape.width, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(inverse_rms_rows)(x, shape, begin, end, factors.data());
  });
  const int64_t blocks = (shape.width + kColumns - 1) / kColumns;
  parallel_for(context.threads, static_cast<size_t>(blocks), [&](size_t block, int) {
    const int64_t begin = static_cast<int64_t>(block) * kColumns;
    HWY_DYNAMIC_DISPATCH(add_weight_gradient)
    (x, gate, dy, factors.data(), shape, begin, std::min(shape.width, begin + kColumns), d_weight);
  });
}

}  // namespace

void zero_centered_rms_norm_backward(const ZeroCenteredRmsNormBackwardArgs& args,
                                     const OpContext& context) {
  if (args.d_weight != nullptr)
    weight_gradient(args.x, nullptr, args.dy, args.shape, args.d_weight, context);
  for_row_blocks(context.threads, args.shape.rows, args.shape.width,
                 [&](int64_t begin, int64_t end) {
                   HWY_DYNAMIC_DISPATCH(zero_centered_rows)(args, begin, end);
                 });
}

void gated_rms_norm_backward(const GatedRmsNormBackwardArgs& args, const OpContext& context) {
  if (args.d_weight != nullptr)
    weight_gradient(args.x, args.gate, args.dy, args.shape, args.d_weight, context);
  for_row_blocks(
      context.threads, args.shape.rows, args.shape.width,
      [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(gated_rows)(args, begin, end); });
}

void l2_norm_backward(const L2NormBackwardArgs& args, const OpContext& context) {
  for_row_blocks(
      context.threads, args.tokens, args.heads * args.width,
      [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(l2_tokens)(args, begin, end); });
}

}  // namespace qround::ops::cpu
#endif
