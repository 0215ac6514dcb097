#include "eval/lane.h"

namespace qround::eval {
namespace {

// Takes over linear maps of the chosen roles.
class Donation {
 public:
  explicit Donation(const std::set<Role>& roles) : roles_(roles) {}

  void take(Role role, const ops::Weight& from, ops::Weight& into) const {
    if (roles_.contains(role)) into = from;
  }
  void take(const AttentionWeights& from, AttentionWeights& into) const {
    take(Role::q_proj, from.q_proj, into.q_proj);
    take(Role::k_proj, from.k_proj, into.k_proj);
    take(Role::v_proj, from.v_proj, into.v_proj);
    take(Role::o_proj, from.o_proj, into.o_proj);
  }
  void take(const DeltaNetWeights& from, DeltaNetWeights& into) const {
    take(Role::in_proj_qkv, from.in_proj_qkv, into.in_proj_qkv);
    take(Role::in_proj_z, from.in_proj_z, into.in_proj_z);
    take(Role::in_proj_b, from.in_proj_b, into.in_proj_b);
    take(Role::in_proj_a, from.in_proj_a, into.in_proj_a);
    take(Role::out_proj, from.out_proj, into.out_proj);
  }
  void take(const MoeWeights& from, MoeWeights& into) const {
    take(Role::router, from.router, into.router);
    for (size_t expert = 0; expert < into.experts.size(); ++expert) {
      take(Role::expert_gate, from.experts[expert].gate, into.experts[expert].gate);
      take(Role::expert_up, from.experts[expert].up, into.experts[expert].up);
      take(Role::expert_down, from.experts[expert].down, into.experts[expert].down);
    }
    take(Role::shared_gate, from.shared.gate, into.shared.gate);
    take(Role::shared_up, from.shared.up, into.shared.up);
    take(Role::shared_down, from.shared.down, into.shared.down);
    take(Role::shared_expert_gate, from.shared_expert_gate, into.shared_expert_gate);
  }
  void take(const ops::SwigluWeights& from, ops::SwigluWeights& into) const {
    take(Role::dense_gate, from.gate, into.gate);
    take(Role::dense_up, from.up, into.up);
    take(Role::dense_down, from.down, into.down);
  }

 private:
  const std::set<Role>& roles_;
};

}  // namespace

BlockWeights Lane::block(int64_t index) const {
  BlockWeights weights = model->block(index);
  if (donor == nullptr) return weights;
  const BlockWeights& given = donor->block(index);
  const Donation donation(donated);
  std::visit(
      [&](auto& mixer) {
        using Mixer = std::decay_t<decltype(mixer)>;
        donation.take(std::get<Mixer>(given.mixer), mixer);
      },
      weights.mixer);
  std::visit(
      [&](auto& feed_forward) {
        using FeedForward = std::decay_t<decltype(feed_forward)>;
        donation.take(std::get<FeedForward>(given.feed_forward), feed_forward);
      },
      weights.feed_forward);
  return weights;
}

}  // namespace qround::eval
