#include "quant/next_block.h"

#include <utility>

namespace qround::quant {

NextBlock::NextBlock(const Checkpoint& source, const ModelConfig& config, const TensorTable& table,
                     const ExportStep& step, const ops::Memory& device)
    : step_(step), stream_(device), loaded_(device) {
  lane_.push([this, &source, &config, &table, &device] {
    block_ = make_resident(load_block(source, config, table, step_.part, step_.block), device,
                           stream_.get());
    loaded_.record(stream_.get());
  });
}

ResidentBlock NextBlock::take(ops::Stream* stream) {
  lane_.wait_all();
  loaded_.wait_in(stream);
  return std::move(block_);
}

}  // namespace qround::quant
