#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/random.h"

namespace qround {
namespace {

constexpr uint64_t kNoTokens = 0;

uint64_t with_token(uint64_t hash, int32_t token) {
  return mix_bits(hash ^ static_cast<uint32_t>(token));
}

uint64_t hash_of(std::span<const int32_t> tokens) {
  uint64_t hash = kNoTokens;
  for (const int32_t token : tokens) hash = with_token(hash, token);
  return hash;
}

}  // namespace

uint64_t KeptPrefix::bytes() const {
  return sizeof(float) * static_cast<uint64_t>(recurrent.values.size() + last_hidden.size() +
                                               static_cast<int64_t>(tokens.size()));
}

PrefixCache::Order::iterator PrefixCache::lookup(uint64_t hash, std::span<const int32_t> tokens) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto at = begin; at != end; ++at)
    if (std::equal(tokens.begin(), tokens.end(), at->second->tokens.begin(),
                   at->second->tokens.end()))
      return at->second;
  return order_.end();
}

const KeptPrefix* PrefixCache::find(std::span<const int32_t> tokens, int64_t most) {
  auto longest = order_.end();
  uint64_t hash = kNoTokens;
  const size_t end = std::min(tokens.size(), static_cast<size_t>(std::max<int64_t>(0, most)));
  for (size_t count = 1; count <= end; ++count) {
    hash = with_token(hash, tokens[count - 1]);
    const auto found = lookup(hash, tokens.first(count));
    if (found != order_.end()) longest = found;
  }
  if (longest == order_.end()) return nullptr;
  order_.splice(order_.begin(), order_, longest);
  return &order_.front();
}

bool PrefixCache::holds(std::span<const int32_t> tokens) {
  const auto found = lookup(hash_of(tokens), tokens);
  if (found == order_.end()) return false;
  order_.splice(order_.begin(), order_, found);
  return true;
}

void PrefixCache::insert(KeptPrefix prefix) {
  const uint64_t bytes = prefix.bytes();
  if (bytes > most_bytes_) return;
  while (bytes_ + bytes > most_bytes_) drop_oldest();
  order_.push_front(std::move(prefix));
  by_hash_.emplace(hash_of(order_.front().tokens), order_.begin());
  bytes_ += bytes;
}

bool PrefixCache::drop_oldest() {
  if (order_.empty()) return false;
  const auto oldest = std::prev(order_.end());
  const auto [begin, end] = by_hash_.equal_range(hash_of(oldest->tokens));
  by_hash_.erase(std::find_if(begin, end, [&](const auto& at) { return at.second == oldest; }));
  bytes_ -= oldest->bytes();
  order_.erase(oldest);
  return true;
}

}  // namespace qround
