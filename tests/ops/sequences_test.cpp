// One call for the sequences of a batch gives the bits of one call each.
#include "ops/sequences.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

class Sequences : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(Sequences);

// Extents for places in order, the first `short_sequences` of them short.
SequenceBatch batch_of(const std::vector<SequencePlace>& places,
                       const Buffer<SequencePlace>& copies) {
  SequenceBatch batch{.places = copies.data(), .sequences = static_cast<int64_t>(places.size())};
  for (const SequencePlace& place : places) {
    batch.rows += place.tokens;
    batch.most_tokens = std::max(batch.most_tokens, place.tokens);
    batch.most_context = std::max(batch.most_context, place.context + place.tokens);
    if (place.tokens > kShortTokens) continue;
    ++batch.short_sequences;
    batch.short_rows += place.tokens;
  }
  return batch;
}

// Pages of one layer: keys before values.
struct PagedSequence {
  std::vector<Buffer<float>> pages;
  Buffer<float*> table;

  PagedSequence(const OnBackend& on, int64_t context, int64_t row) {
    std::vector<float*> pointers;
    for (int64_t token = 0; token < context; token += kKvPageTokens) {
      pages.push_back(on.nans(static_cast<size_t>(2 * kKvPageTokens * row)));
      pointers.push_back(pages.back().data());
    }
    table = on.copy_of(pointers);
  }
};

struct AttentionCase {
  std::vector<int64_t> before, tokens;  // of each sequence; short ones first
};

// Everything before the rows is stored by a call of its own, as earlier passes do.
void expect_attention_of_each(const OpTable& table, const AttentionCase& c, uint64_t seed) {
  const int64_t heads = 4, kv_heads = 2, dim = 24, row = kv_heads * dim;
  RandomValues random(seed);
  OnBackend on(table);
  std::vector<PagedSequence> sequences;
  std::vector<std::vector<float>> keys, values;  // of the whole sequence
  std::vector<SequencePlace> past, places;
  int64_t past_rows = 0, rows = 0;
  for (size_t s = 0; s < c.tokens.size(); ++s) {
    const int64_t context = c.before[s] + c.tokens[s];
    sequences.emplace_back(on, context, row);
    keys.push_back(random.normal(context * row));
    values.push_back(random.normal(context * row));
    past.push_back(
        {.first_row = past_rows, .tokens = c.before[s], .pages = sequences.back().table.data()});
    places.push_back({.first_row = rows,
                      .tokens = c.tokens[s],
                      .context = c.before[s],
                      .pages = sequences.back().table.data()});
    past_rows += c.before[s];
    rows += c.tokens[s];
  }
  const auto store = [&](const std::vector<SequencePlace>& of) {
    std::vector<float> k, v;
    for (size_t s = 0; s < of.size(); ++s) {
      const auto first = of[s].context * row, last = (of[s].context + of[s].tokens) * row;
      k.insert(k.end(), keys[s].begin() + first, keys[s].begin() + last);
      v.insert(v.end(), values[s].begin() + first, values[s].begin() + last);
    }
    const auto on_k = on.copy_of(k), on_v = on.copy_of(v);
    const auto copies = on.copy_of(of);
    table.store_keys_values({.batch = batch_of(of, copies),
                             .keys = on_k.data(),
                             .values = on_v.data(),
                             .row = row,
                             .key_offset = 0,
                             .value_offset = kKvPageTokens * row},
                            on.context);
    table.memory->synchronize(nullptr);
  };
  store(past);
  store(places);
  const auto q = on.copy_of(random.normal(rows * heads * dim));
  auto out = on.nans(static_cast<size_t>(rows * heads * dim));
  const auto copies = on.copy_of(places);
  table.sequence_attention({.batch = batch_of(places, copies),
                            .q = q.data(),
                            .out = out.data(),
                            .key_offset = 0,
                            .value_offset = kKvPageTokens * row,
                            .heads = heads,
                            .kv_heads = kv_heads,
                            .head_dim = dim,
                            .scale = 0.2f},
                           on.context);
  const std::vector<float> actual = out.to_vector();
  for (size_t s = 0; s < places.size(); ++s) {
    const auto whole_keys = on.copy_of(keys[s]), whole_values = on.copy_of(values[s]);
    const int64_t first = places[s].first_row * heads * dim, count = c.tokens[s] * heads * dim;
    auto expected = on.nans(static_cast<size_t>(count));
    table.causal_attention({.q = q.data() + first,
                            .keys = whole_keys.data(),
                            .values = whole_values.data(),
                            .out = expected.data(),
                            .tokens = c.tokens[s],
                            .context = c.before[s] + c.tokens[s],
                            .heads = heads,
                            .kv_heads = kv_heads,
                            .head_dim = dim,
                            .scale = 0.2f},
                           on.context);
    const std::vector<float> of_one = expected.to_vector();
    EXPECT_TRUE(std::equal(of_one.begin(), of_one.end(), actual.begin() + first))
        << "sequence " << s;
  }
}

TEST_P(Sequences, AttentionIsThatOfEachSequenceAlone) {
  expect_attention_of_each(table(), {{0, 130, 5}, {1, 3, 8}}, 1);       // all short
  expect_attention_of_each(table(), {{3, 40, 100}, {1, 9, 30}}, 2);     // of either kind
  expect_attention_of_each(table(), {{1030, 7, 1100}, {2, 1, 10}}, 3);  // more than a span
}

// A layer among several, in the middle of the memory of a state.
struct DeltaNetSequence {
  Buffer<float> state, rows;

  DeltaNetSequence(const OnBackend& on, const DeltaNetShape& shape, int64_t most_rows,
                   RandomValues& random)
      : state(on.copy_of(random.normal(2 * shape.state_floats()))),
        rows(on.nans(static_cast<size_t>(2 * most_rows * shape.row_floats()))) {}
};

constexpr DeltaNetShape kShape{
    .key_heads = 2, .value_heads = 4, .key_dim = 12, .value_dim = 9, .taps = 4};
constexpr DeltaNetLayer kLayer{kShape, 1};
constexpr int64_t kMostRows = 5;

// A batch's call over some tokens of two sequences.
struct Step {
  int64_t tokens[2];
  bool tentative[2];
  int64_t accepted[2];  // of tentative ones
};

// Runs steps over rows of one width each; run_batch(batch, first row of all rows, rows) and
// returns the outputs of what was kept, by sequence.
template <class RunBatch>
void run_steps(const OnBackend& on, std::vector<DeltaNetSequence>& sequences,
               std::span<const Step> steps, const RunBatch& run_batch) {
  int64_t known[2] = {0, 0};
  int32_t owed[2] = {0, 0}, set[2] = {0, 0};
  for (const Step& step : steps) {
    std::vector<SequencePlace> places;
    for (int s = 0; s < 2; ++s) {
      places.push_back({.first_row = s == 0 ? 0 : step.tokens[0],
                        .tokens = step.tokens[s],
                        .delta_net = {.state = sequences[static_cast<size_t>(s)].state.data(),
                                      .rows = sequences[static_cast<size_t>(s)].rows.data(),
                                      .most_rows = kMostRows,
                                      .owed = owed[s],
                                      .owed_set = set[s]},
                        .tentative = step.tentative[s]});
    }
    const auto copies = on.copy_of(places);
    run_batch(batch_of(places, copies), known, step);
    for (int s = 0; s < 2; ++s) {
      owed[s] = step.tentative[s] ? static_cast<int32_t>(step.accepted[s]) : 0;
      if (step.tentative[s]) set[s] = 1 - set[s];
      known[s] += step.tentative[s] ? step.accepted[s] : step.tokens[s];
    }
  }
}

// Plain tokens, tentative ones of which all, some and none are accepted, more of them at once than
// the convolution has taps, and a call without rows that applies what is owed.
constexpr Step kSteps[] = {{{3, 5}, {false, true}, {0, 5}},  {{2, 3}, {true, true}, {1, 0}},
                           {{5, 4}, {true, false}, {5, 0}},  {{0, 5}, {false, true}, {0, 2}},
                           {{4, 2}, {false, false}, {0, 0}}, {{1, 3}, {true, true}, {0, 3}}};
constexpr int64_t kTokens = 24;  // at least what any sequence knows or tries

std::vector<float> part(const std::vector<float>& rows, int64_t first, int64_t count,
                        int64_t width) {
  return {rows.begin() + first * width, rows.begin() + (first + count) * width};
}

// Rows [known, known + tokens) of both sequences, one after the other.
std::vector<float> rows_of_step(const std::vector<float> (&all)[2], const int64_t (&known)[2],
                                const Step& step, int64_t width) {
  std::vector<float> rows = part(all[0], known[0], step.tokens[0], width);
  const std::vector<float> second = part(all[1], known[1], step.tokens[1], width);
  rows.insert(rows.end(), second.begin(), second.end());
  return rows;
}

void expect_rows(const std::vector<float>& actual, const std::vector<float> (&expected)[2],
                 const int64_t (&known)[2], const Step& step, int64_t width) {
  EXPECT_EQ(actual, rows_of_step(expected, known, step, width))
      << "after " << known[0] << " and " << known[1] << " tokens";
}

TEST_P(Sequences, ConvolutionsAreThoseOfEachSequenceInOnePiece) {
  RandomValues random(4);
  OnBackend on(table());
  const int64_t channels = kShape.channels();
  const auto weight = on.copy_of(random.normal(channels * kShape.taps));
  std::vector<DeltaNetSequence> sequences;
  std::vector<float> u[2], expected[2];
  for (int s = 0; s < 2; ++s) {
    sequences.emplace_back(on, kShape, kMostRows, random);
    u[s] = random.normal(kTokens * channels);
    const std::vector<float> state = sequences.back().state.to_vector();
    auto history = on.copy_of(part(state, kShape.state_floats(), kShape.history_floats(), 1));
    const auto input = on.copy_of(u[s]);
    auto out = on.nans(u[s].size());
    table().causal_conv1d_silu({.u = input.data(),
                                .weight = weight.data(),
                                .history = history.data(),
                                .out = out.data(),
                                .tokens = kTokens,
                                .channels = channels,
                                .taps = kShape.taps},
                               on.context);
    expected[s] = out.to_vector();
  }
  run_steps(on, sequences, kSteps,
            [&](const SequenceBatch& batch, const int64_t(&known)[2], const Step& step) {
              const auto input = on.copy_of(rows_of_step(u, known, step, channels));
              auto out = on.nans(static_cast<size_t>(input.size()));
              table().sequence_convolution({.batch = batch,
                                            .layer = kLayer,
                                            .u = input.data(),
                                            .weight = weight.data(),
                                            .out = out.data()},
                                           on.context);
              expect_rows(out.to_vector(), expected, known, step, channels);
            });
}

TEST_P(Sequences, DeltaRulesAreThoseOfEachSequenceInOnePiece) {
  RandomValues random(5);
  OnBackend on(table());
  const int64_t keys = kShape.key_width(), values = kShape.value_width();
  std::vector<DeltaNetSequence> sequences;
  std::vector<float> q[2], k[2], v[2], log_decay[2], beta[2], expected[2];
  for (int s = 0; s < 2; ++s) {
    sequences.emplace_back(on, kShape, kMostRows, random);
    q[s] = random.normal(kTokens * keys, 0.3f);
    k[s] = random.normal(kTokens * keys, 0.3f);
    v[s] = random.normal(kTokens * values);
    log_decay[s] = random.uniform(kTokens * kShape.value_heads, -2, 0);
    beta[s] = random.uniform(kTokens * kShape.value_heads, 0, 1);
    const std::vector<float> memory = sequences.back().state.to_vector();
    auto state = on.copy_of(part(memory, kShape.state_floats() + kShape.history_floats(),
                                 kShape.recurrent_floats(), 1));
    const auto on_q = on.copy_of(q[s]), on_k = on.copy_of(k[s]), on_v = on.copy_of(v[s]);
    const auto on_decay = on.copy_of(log_decay[s]), on_beta = on.copy_of(beta[s]);
    auto out = on.nans(v[s].size());
    table().gated_delta_rule({.q = on_q.data(),
                              .k = on_k.data(),
                              .v = on_v.data(),
                              .log_decay = on_decay.data(),
                              .beta = on_beta.data(),
                              .state = state.data(),
                              .out = out.data(),
                              .tokens = kTokens,
                              .key_heads = kShape.key_heads,
                              .value_heads = kShape.value_heads,
                              .key_dim = kShape.key_dim,
                              .value_dim = kShape.value_dim,
                              .q_stride = keys,
                              .k_stride = keys,
                              .v_stride = values},
                             on.context);
    expected[s] = out.to_vector();
  }
  run_steps(on, sequences, kSteps,
            [&](const SequenceBatch& batch, const int64_t(&known)[2], const Step& step) {
              const auto rows = [&](const std::vector<float>(&all)[2], int64_t width) {
                return on.copy_of(rows_of_step(all, known, step, width));
              };
              const auto on_q = rows(q, keys), on_k = rows(k, keys), on_v = rows(v, values);
              const auto on_decay = rows(log_decay, kShape.value_heads);
              const auto on_beta = rows(beta, kShape.value_heads);
              auto out = on.nans(static_cast<size_t>(on_v.size()));
              table().sequence_delta_rule({.batch = batch,
                                           .layer = kLayer,
                                           .q = on_q.data(),
                                           .k = on_k.data(),
                                           .v = on_v.data(),
                                           .log_decay = on_decay.data(),
                                           .beta = on_beta.data(),
                                           .out = out.data(),
                                           .v_stride = values},
                                          on.context);
              expect_rows(out.to_vector(), expected, known, step, values);
            });
}

}  // namespace
}  // namespace qround::ops
