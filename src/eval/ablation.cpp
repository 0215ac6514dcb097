#include "eval/ablation.h"

#include "model/stored_parameter.h"

namespace qround::eval {
namespace {

bool is_ablated(const Parameter& parameter) {
  return parameter.part == Part::text && is_linear(parameter.role);
}

uint64_t stored_bytes(const Checkpoint& checkpoint, const Parameter& parameter) {
  uint64_t bytes = 0;
  for (const std::string& name : stored_tensors(checkpoint, parameter))
    bytes += checkpoint.find(name)->bytes();
  return bytes;
}

bool is_int4(const Checkpoint& checkpoint, const Parameter& parameter) {
  return checkpoint.find(parameter.module + ".qweight") != nullptr;
}

// Of the source's form; a fused tensor holds other parameters too.
uint64_t dense_bytes(const Checkpoint& source, const Parameter& parameter) {
  const StoredParameter stored = find_stored(source, parameter);
  const auto* dense = std::get_if<TensorView>(&stored);
  return dense != nullptr ? dense->bytes() : stored_bytes(source, parameter);
}

}  // namespace

std::vector<Lane> ablation_lanes(const std::shared_ptr<const Model>& result,
                                 const std::shared_ptr<const Model>& source) {
  std::set<Role> roles;
  for (const Parameter& parameter : result->table().parameters())
    if (is_ablated(parameter) && is_int4(result->checkpoint(), parameter))
      roles.insert(parameter.role);
  std::vector<Lane> lanes;
  for (const Role role : roles) {
    lanes.push_back({.name = std::string(role_name(role)),
                     .model = result,
                     .donor = source,
                     .donated = {role},
                     .drafts = false});
  }
  return lanes;
}

double Ablation::gain_per_megabyte() const {
  return added_bytes > 0 ? gain.value / (static_cast<double>(added_bytes) / 1e6) : 0;
}

Ablation ablation_of(const Lane& lane, const LaneScores& scores, const LaneScores& result,
                     const std::vector<Window>& windows) {
  Ablation ablation;
  ablation.role = lane.name;
  for (const Parameter& parameter : lane.model->table().parameters()) {
    if (!is_ablated(parameter) || !lane.donated.contains(parameter.role)) continue;
    ablation.added_bytes += static_cast<int64_t>(dense_bytes(lane.donor->checkpoint(), parameter)) -
                            static_cast<int64_t>(stored_bytes(lane.model->checkpoint(), parameter));
  }
  ablation.divergence = mean_divergence(scores, windows);
  ablation.gain = divergence_difference(result, scores, windows);
  return ablation;
}

Json to_json(const Ablation& ablation) {
  return Json::object({{"role", ablation.role},
                       {"added_bytes", ablation.added_bytes},
                       {"kl_divergence", to_json(ablation.divergence)},
                       {"gain", to_json(ablation.gain)},
                       {"gain_per_megabyte", ablation.gain_per_megabyte()}});
}

}  // namespace qround::eval
