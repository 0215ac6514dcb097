// The convolution of every sequence of a batch: a thread per output, the inputs before a sequence's
// rows being its history and what it owes; then, a thread per channel, history and kept inputs move
// on, oldest first, so that every value is read before its place is overwritten.
//
// Tested by tests/ops/sequences_test.cpp.
#include "ops/cuda/activation.h"
#include "ops/cuda/elements.h"
#include "ops/sequences.h"

namespace qround::ops::cuda {
namespace {

// A channel of one sequence.
struct Channel {
  const float* u;  // the first of the sequence's rows
  float *history, *kept;
  int64_t channels, index, before;  // inputs in the history and owed

  __device__ Channel(const SequenceConvolutionArgs& args, const SequencePlace& place, int64_t c)
      : u(args.u + place.first_row * args.layer.shape.channels()),
        history(args.layer.history(place.delta_net)),
        kept(args.layer.inputs(place.delta_net)),
        channels(args.layer.shape.channels()),
        index(c),
        before(args.layer.shape.taps - 1 + place.delta_net.owed) {}

  // Input `t`, the sequence's first row being 0.
  __device__ float input(int64_t t, int64_t taps) const {
    if (t >= 0) return u[t * channels + index];
    const int64_t place = before + t;
    return place < taps - 1 ? history[place * channels + index]
                            : kept[(place - (taps - 1)) * channels + index];
  }
};

__global__ void convolve(SequenceConvolutionArgs args) {
  const SequencePlace& place = args.batch.places[blockIdx.y];
  const int64_t element = element_index(), taps = args.layer.shape.taps;
  const int64_t channels = args.layer.shape.channels();
  if (element >= place.tokens * channels) return;
  const int64_t t = element / channels, c = element % channels;
  const Channel channel(args, place, c);
  float sum = 0;
  for (int64_t j = 0; j < taps; ++j)
    sum += args.weight[c * taps + j] * channel.input(t - (taps - 1) + j, taps);
  args.out[place.first_row * channels + element] = silu(sum);
}

__global__ void move_on(SequenceConvolutionArgs args) {
  const SequencePlace& place = args.batch.places[blockIdx.y];
  const int64_t c = element_index(), taps = args.layer.shape.taps;
  if (c >= args.layer.shape.channels()) return;
  const Channel channel(args, place, c);
  const int64_t end = place.tentative ? 0 : place.tokens;
  for (int64_t i = 0; i < taps - 1; ++i)
    channel.history[i * channel.channels + c] = channel.input(end - (taps - 1) + i, taps);
  for (int64_t t = 0; place.tentative && t < place.tokens; ++t)
    channel.kept[t * channel.channels + c] = channel.u[t * channel.channels + c];
}

}  // namespace

void sequence_convolution(const SequenceConvolutionArgs& args, const OpContext& context) {
  const int64_t channels = args.layer.shape.channels();
  const auto sequences = static_cast<unsigned>(args.batch.sequences);
  launch(convolve, dim3(element_blocks(args.batch.most_tokens * channels), sequences),
         kElementBlock, 0, context.stream, args);
  launch(move_on, dim3(element_blocks(channels), sequences), kElementBlock, 0, context.stream,
         args);
}

}  // namespace qround::ops::cuda
