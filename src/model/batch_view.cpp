#include "model/batch_view.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace qround {
namespace {

constexpr size_t kAlignment = 64;

// One block of memory with arrays at multiples of kAlignment.
struct Layout {
  size_t bytes = 0;

  template <typename T>
  size_t add(size_t count) {
    const size_t at = bytes;
    bytes += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }
};

ops::SequenceBatch extents_of(std::span<const SequenceRows> batch) {
  ops::SequenceBatch extents;
  bool all_short = true;
  for (const SequenceRows& rows : batch) {
    ++extents.sequences;
    extents.rows += rows.tokens;
    extents.most_tokens = std::max(extents.most_tokens, rows.tokens);
    extents.most_context = std::max(extents.most_context, rows.state->tokens() + rows.tokens);
    all_short = all_short && rows.tokens <= ops::kShortTokens;
    if (!all_short) continue;
    extents.short_sequences = extents.sequences;
    extents.short_rows = extents.rows;
  }
  // By powers of two, so that passes of many steps are of one shape.
  extents.most_context = static_cast<int64_t>(
      std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(extents.most_context, 1))));
  return extents;
}

void fill(std::span<const SequenceRows> batch, ops::SequencePlace* places, int64_t* positions) {
  int64_t row = 0;
  for (const SequenceRows& rows : batch) {
    *places++ = rows.state->place(row, rows.tokens, rows.tentative);
    for (int64_t t = 0; t < rows.tokens; ++t) positions[row++] = rows.first_position + t;
  }
}

void fill_frequencies(const AttentionConfig& a, float* inverse_frequencies) {
  for (int64_t i = 0; i < a.rotary_dim / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(a.rotary_dim);
    inverse_frequencies[i] = static_cast<float>(1.0 / std::pow(a.rope_theta, exponent));
  }
}

}  // namespace

BatchView make_batch_view(const ModelConfig& config, std::span<const SequenceRows> batch,
                          std::span<const int32_t> ids, ops::Workspace::Scope& scope,
                          const ops::Memory& memory) {
  BatchView view{.sequences = extents_of(batch)};
  Layout layout;
  const size_t places = layout.add<ops::SequencePlace>(batch.size());
  const size_t positions = layout.add<int64_t>(static_cast<size_t>(view.rows()));
  const size_t frequencies =
      layout.add<float>(static_cast<size_t>(config.attention.rotary_dim / 2));
  const size_t id_place = layout.add<int32_t>(ids.size());
  std::byte* block = scope.take<std::byte>(layout.bytes).data();
  std::vector<std::byte> staged(memory.is_host ? 0 : layout.bytes);
  std::byte* host = memory.is_host ? block : staged.data();
  fill(batch, reinterpret_cast<ops::SequencePlace*>(host + places),
       reinterpret_cast<int64_t*>(host + positions));
  fill_frequencies(config.attention, reinterpret_cast<float*>(host + frequencies));
  std::copy(ids.begin(), ids.end(), reinterpret_cast<int32_t*>(host + id_place));
  if (!memory.is_host) memory.upload(block, host, layout.bytes, nullptr);
  view.sequences.places = reinterpret_cast<const ops::SequencePlace*>(block + places);
  view.positions = reinterpret_cast<const int64_t*>(block + positions);
  view.inverse_frequencies = reinterpret_cast<const float*>(block + frequencies);
  if (!ids.empty()) view.ids = reinterpret_cast<const int32_t*>(block + id_place);
  return view;
}

}  // namespace qround
