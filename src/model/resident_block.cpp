#include "model/block_weights.h"
#include "model/weight_upload.h"

namespace qround {

ResidentBlock make_resident(const BlockWeights& weights, const ops::Memory& memory,
                            ops::Stream* stream) {
  ResidentBlock block{weights, {}};
  if (memory.is_host) return block;
  WeightUpload upload;
  upload.add(block.weights);
  block.matrices = upload.upload(memory, stream);
  return block;
}

}  // namespace qround
