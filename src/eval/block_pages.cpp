#include "eval/block_pages.h"

#include <algorithm>

#include "model/stored_parameter.h"

namespace qround::eval {

BlockPages::BlockPages(const Model& model)
    : checkpoint_(model.checkpoint()), entries_(model.config().mixers.size()) {
  for (const Parameter& parameter : model.table().parameters()) {
    if (parameter.part != Part::text || parameter.block < 0) continue;
    std::vector<const TensorEntry*>& entries = entries_[static_cast<size_t>(parameter.block)];
    for (const std::string& name : stored_tensors(checkpoint_, parameter))
      entries.push_back(checkpoint_.find(name));
  }
  for (std::vector<const TensorEntry*>& entries : entries_) {
    std::sort(entries.begin(), entries.end());
    entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  }
}

void BlockPages::prefetch(int64_t block) const {
  if (block >= static_cast<int64_t>(entries_.size())) return;
  for (const TensorEntry* entry : entries_[static_cast<size_t>(block)])
    checkpoint_.prefetch(*entry);
}

void BlockPages::release(int64_t block) const {
  for (const TensorEntry* entry : entries_[static_cast<size_t>(block)]) checkpoint_.release(*entry);
}

}  // namespace qround::eval
