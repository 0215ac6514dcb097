#include "ops/cuda/elements.h"
#include "ops/sequences.h"

namespace qround::ops::cuda {
namespace {

// A thread moves a key and a value.
__global__ void store(StoreKeysValuesArgs args) {
  const SequencePlace& place = args.batch.places[blockIdx.y];
  const int64_t element = element_index();
  if (element >= place.tokens * args.row) return;
  const int64_t token = place.context + element / args.row;
  float* to =
      place.pages[token / kKvPageTokens] + token % kKvPageTokens * args.row + element % args.row;
  const int64_t from = place.first_row * args.row + element;
  to[args.key_offset] = args.keys[from];
  to[args.value_offset] = args.values[from];
}

}  // namespace

void store_keys_values(const StoreKeysValuesArgs& args, const OpContext& context) {
  launch(store,
         dim3(element_blocks(args.batch.most_tokens * args.row),
              static_cast<unsigned>(args.batch.sequences)),
         kElementBlock, 0, context.stream, args);
}

}  // namespace qround::ops::cuda
