// Which pages of a checkpoint belong to a block: asked for a little before they are read, given
// back afterwards, so that a network far larger than the memory runs through it block by block.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace qround::eval {

class BlockPages {
 public:
  explicit BlockPages(const Model& model);  // must outlive the object

  void prefetch(int64_t block) const;  // of the text part; one past the last: nothing happens
  void release(int64_t block) const;

 private:
  const Checkpoint& checkpoint_;
  std::vector<std::vector<const TensorEntry*>> entries_;  // by block
};

}  // namespace qround::eval
