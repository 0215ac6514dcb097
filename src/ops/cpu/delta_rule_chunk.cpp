#include "ops/cpu/delta_rule_chunk.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/delta_rule_chunk.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR float dot(const float* a, const float* b, int64_t count) {
  return sum_of_vectors(count, [&](auto d, int64_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i));
  });
}

HWY_ATTR void scale(const float* x, float factor, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, out + i);
  });
}

HWY_ATTR void add_scaled(const float* x, float factor, int64_t count, float* sum) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), hn::Set(d, factor), hn::LoadU(d, sum + i)), d,
               sum + i);
  });
}

HWY_ATTR void product(const float* x, const float* y, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, out + i);
  });
}

HWY_ATTR void finish_gates(const ChunkGates& g) {
  float decay = 1.0f;
  for (int64_t i = 0; i < g.tokens; ++i) {
    float* row = g.relative.row(i);
    g.decay[i] = decay *= g.step[i];
    if (i > 0) scale(g.relative.row(i - 1), g.step[i], i, row);
    row[i] = 1.0f;
    std::fill(row + i + 1, row + g.tokens, 0.0f);
  }
}

// Row by row from the top: T_i = e_i - sum over j < i of L_ij T_j, of which columns 0 .. j differ
// from 0.
HWY_ATTR void invert_chunk(const ChunkGates& g, const Block& kk, float* scratch,
                           const Block& inverse) {
  for (int64_t i = 0; i < g.tokens; ++i) {
    float* row = inverse.row(i);
    std::fill_n(row, g.tokens, 0.0f);
    row[i] = 1.0f;
    product(kk.row(i), g.relative.row(i), i, scratch);
    for (int64_t j = 0; j < i; ++j)
      add_scaled(inverse.row(j), -g.beta[i] * scratch[j],
                 std::min(g.tokens, (j + kLanes) / kLanes * kLanes), row);
  }
}

HWY_ATTR void make_right_side(const ChunkGates& g, const Block& v, const Block& memory,
                              const Block& right) {
  for (int64_t i = 0; i < v.rows; ++i) {
    const float beta = g.beta[i], decay = g.decay[i];
    for_each_vector(v.columns, [&](auto d, int64_t j) HWY_ATTR {
      const auto left = hn::NegMulAdd(hn::Set(d, decay), hn::LoadU(d, memory.row(i) + j),
                                      hn::LoadU(d, v.row(i) + j));
      hn::StoreU(hn::Mul(hn::Set(d, beta), left), d, right.row(i) + j);
    });
  }
}

HWY_ATTR void scale_block(const Block& x, float factor, const Block& out) {
  for (int64_t i = 0; i < x.rows; ++i) scale(x.row(i), factor, x.columns, out.row(i));
}

HWY_ATTR void multiply_elements(const Block& x, const Block& y, const Block& out) {
  for (int64_t i = 0; i < x.rows; ++i) product(x.row(i), y.row(i), x.columns, out.row(i));
}

HWY_ATTR void scale_rows(const Block& x, const float* factors, const Block& out) {
  for (int64_t i = 0; i < x.rows; ++i) scale(x.row(i), factors[i], x.columns, out.row(i));
}

HWY_ATTR void scale_columns(const Block& x, const float* factors, const Block& out) {
  for (int64_t i = 0; i < x.rows; ++i) product(x.row(i), factors, x.columns, out.row(i));
}

HWY_ATTR float inner_product(const Block& x, const Block& y) {
  float sum = 0;
  for (int64_t i = 0; i < x.rows; ++i) sum += dot(x.row(i), y.row(i), x.columns);
  return sum;
}

HWY_ATTR float add_row_factor_gradient(const Block& x, const Block& y, const float* factors,
                                       float sign, const Block& sum, float* d_log) {
  float total = 0;
  for (int64_t i = 0; i < x.rows; ++i) {
    const float change = sign * factors[i] * dot(x.row(i), y.row(i), x.columns);
    d_log[i] += change;
    total += change;
    add_scaled(y.row(i), factors[i], x.columns, sum.row(i));
  }
  return total;
}

// A factor D_ij inside x with gradient d gives γ the row sums minus the column sums of d ∘ x.
HWY_ATTR void add_difference_gradient(const Block& d, const Block& x, float* d_gamma) {
  for (int64_t i = 0; i < d.rows; ++i) {
    const float *of_d = d.row(i), *of_x = x.row(i);
    d_gamma[i] += dot(of_d, of_x, i + 1);
    for_each_vector(i + 1, [&](auto tag, int64_t j) HWY_ATTR {
      const auto sum = hn::LoadU(tag, d_gamma + j);
      hn::StoreU(hn::NegMulAdd(hn::LoadU(tag, of_d + j), hn::LoadU(tag, of_x + j), sum), tag,
                 d_gamma + j);
    });
  }
}

HWY_ATTR void through_scores(const ChunkGates& g, const Block& p, const Block& d_p,
                             float* d_gamma) {
  add_difference_gradient(d_p, p, d_gamma);
  for (int64_t i = 0; i < d_p.rows; ++i)
    product(d_p.row(i), g.relative.row(i), d_p.columns, d_p.row(i));
}

HWY_ATTR void through_inverse(const ChunkGates& gates, const Block& kk, const Block& g,
                              float* d_beta, float* d_gamma) {
  for (int64_t i = 0; i < g.rows; ++i) {
    float* row = g.row(i);
    product(row, gates.relative.row(i), i, row);
    row[i] = 0.0f;
    d_beta[i] -= dot(row, kk.row(i), i);
    scale(row, -gates.beta[i], i, row);
  }
  add_difference_gradient(g, kk, d_gamma);
  for (int64_t i = 0; i < g.rows; ++i)
    for (int64_t j = 0; j < i; ++j) g.row(j)[i] = g.row(i)[j];
}

HWY_ATTR void through_right_side(const ChunkGates& g, const Block& v, const Block& memory,
                                 const Block& y, const Block& dv, float* d_beta, float* d_gamma) {
  for (int64_t i = 0; i < y.rows; ++i) {
    float* of_y = y.row(i);
    const float of_memory = g.decay[i] * dot(of_y, memory.row(i), y.columns);
    d_beta[i] += dot(of_y, v.row(i), y.columns) - of_memory;
    d_gamma[i] -= g.beta[i] * of_memory;
    scale(of_y, g.beta[i], y.columns, dv.row(i));
    scale(of_y, -g.beta[i] * g.decay[i], y.columns, of_y);
  }
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(finish_gates);
HWY_EXPORT(invert_chunk);
HWY_EXPORT(make_right_side);
HWY_EXPORT(scale_block);
HWY_EXPORT(multiply_elements);
HWY_EXPORT(scale_rows);
HWY_EXPORT(scale_columns);
HWY_EXPORT(inner_product);
HWY_EXPORT(add_row_factor_gradient);
HWY_EXPORT(through_scores);
HWY_EXPORT(through_inverse);
HWY_EXPORT(through_right_side);
}  // namespace

void finish_gates(const ChunkGates& gates) { HWY_DYNAMIC_DISPATCH(finish_gates)(gates); }
void invert_chunk(const ChunkGates& gates, Block kk, float* scratch, Block inverse) {
  HWY_DYNAMIC_DISPATCH(invert_chunk)(gates, kk, scratch, inverse);
}
void make_right_side(const ChunkGates& gates, Block v, Block memory, Block right) {
  HWY_DYNAMIC_DISPATCH(make_right_side)(gates, v, memory, right);
}
void scale_block(Block x, float factor, Block out) {
  HWY_DYNAMIC_DISPATCH(scale_block)(x, factor, out);
}
void multiply_elements(Block x, Block y, Block out) {
  HWY_DYNAMIC_DISPATCH(multiply_elements)(x, y, out);
}
void scale_rows(Block x, const float* factors, Block out) {
  HWY_DYNAMIC_DISPATCH(scale_rows)(x, factors, out);
}
void scale_columns(Block x, const float* factors, Block out) {
  HWY_DYNAMIC_DISPATCH(scale_columns)(x, factors, out);
}
float inner_product(Block x, Block y) { return HWY_DYNAMIC_DISPATCH(inner_product)(x, y); }
float add_row_factor_gradient(Block x, Block y, const float* factors, float sign, Block sum,
                              float* d_log) {
  return HWY_DYNAMIC_DISPATCH(add_row_factor_gradient)(x, y, factors, sign, sum, d_log);
}
void through_scores(const ChunkGates& gates, Block p, Block d_p, float* d_gamma) {
  HWY_DYNAMIC_DISPATCH(through_scores)(gates, p, d_p, d_gamma);
}
void through_inverse(const ChunkGates& gates, Block kk, Block g, float* d_beta, float* d_gamma) {
  HWY_DYNAMIC_DISPATCH(through_inverse)(gates, kk, g, d_beta, d_gamma);
}
void through_right_side(const ChunkGates& gates, Block v, Block memory, Block y, Block dv,
                        float* d_beta, float* d_gamma) {
  HWY_DYNAMIC_DISPATCH(through_right_side)(gates, v, memory, y, dv, d_beta, d_gamma);
}

}  // namespace qround::ops::cpu
#endif
