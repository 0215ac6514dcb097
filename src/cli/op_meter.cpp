#include "cli/op_meter.h"

#include <chrono>
#include <numeric>
#include <set>
#include <variant>
#include <vector>

namespace qround {
namespace {

OpMeter* current = nullptr;

int64_t bytes_of(const ops::DenseWeight& w) {
  return w.n * w.k * static_cast<int64_t>(dtype_bytes(w.dtype));
}
int64_t bytes_of(const ops::Int4Weight& w) {
  const int64_t groups = (w.k + w.group_size - 1) / w.group_size;
  return w.n * w.k / 2 + groups * (w.n * 2 + (w.n + 7) / 8 * 4);
}
int64_t bytes_of(const ops::Int8Weight& w) {
  return w.n * w.k + w.n * (w.k / w.group_size) * int64_t{sizeof(float)};
}
int64_t bytes_of(const ops::Weight& weight) {
  return std::visit([](const auto& w) { return bytes_of(w); }, weight);
}

// What lies in the backend's memory, on the host.
template <typename T>
std::vector<T> on_host(const ops::Memory& memory, const T* data, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  memory.download(values.data(), data, values.size() * sizeof(T), nullptr);
  return values;
}

// Bytes of weights and states an operation has to touch, by its arguments.
template <class... Args>
int64_t bytes_of_call(const ops::Memory&, const Args&...) {
  return 0;
}
int64_t bytes_of_call(const ops::Memory&, const ops::Weight& weight, const float*, int64_t, float*,
                      const ops::OpContext&) {
  return bytes_of(weight);
}
int64_t bytes_of_call(const ops::Memory& memory, const ops::ExpertsArgs& args,
                      const ops::OpContext&) {
  const auto experts = on_host(memory, args.experts, args.tokens * args.n_chosen);
  const std::set<int32_t> touched(experts.begin(), experts.end());
  return std::accumulate(touched.begin(), touched.end(), int64_t{0}, [&](int64_t sum, int32_t e) {
    const ops::SwigluWeights& expert = args.expert_weights[static_cast<size_t>(e)];
    return sum + bytes_of(expert.gate) + bytes_of(expert.up) + bytes_of(expert.down);
  });
}
int64_t bytes_of_call(const ops::Memory&, const ops::SequenceDeltaRuleArgs& args,
                      const ops::OpContext&) {
  return 2 * args.batch.sequences * args.layer.shape.recurrent_floats() * int64_t{sizeof(float)};
}
int64_t bytes_of_call(const ops::Memory& memory, const ops::SequenceAttentionArgs& args,
                      const ops::OpContext&) {
  int64_t context = 0;
  for (const ops::SequencePlace& place : on_host(memory, args.batch.places, args.batch.sequences))
    context += place.context + place.tokens;
  return 2 * context * args.kv_heads * args.head_dim * int64_t{sizeof(float)};
}

}  // namespace

int64_t PartTotals::all_bytes() const {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

template <WorkPart kPart, auto kMember, class... Args>
void OpMeter::run(Args... args) {
  const auto start = std::chrono::steady_clock::now();
  (current->measured_.*kMember)(args...);
  current->measured_.memory->synchronize(nullptr);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const auto part = static_cast<size_t>(kPart == WorkPart::linear ? current->linear_part_ : kPart);
  current->totals_.seconds[part] += elapsed.count();
  current->totals_.bytes[part] += bytes_of_call(*current->measured_.memory, args...);
}

template <WorkPart kPart, auto kMember, class... Args>
constexpr auto OpMeter::wrap(void (*ops::OpTable::*)(Args...)) {
  return &OpMeter::run<kPart, kMember, Args...>;
}

OpMeter::OpMeter(const ops::OpTable& measured) : measured_(measured), table_(measured) {
  using T = ops::OpTable;
  current = this;
  table_.linear = wrap<WorkPart::linear, &T::linear>(&T::linear);
  table_.experts = wrap<WorkPart::experts, &T::experts>(&T::experts);
  table_.sequence_delta_rule =
      wrap<WorkPart::delta_net, &T::sequence_delta_rule>(&T::sequence_delta_rule);
  table_.sequence_convolution =
      wrap<WorkPart::delta_net, &T::sequence_convolution>(&T::sequence_convolution);
  table_.delta_rule_gates = wrap<WorkPart::delta_net, &T::delta_rule_gates>(&T::delta_rule_gates);
  table_.store_keys_values =
      wrap<WorkPart::attention, &T::store_keys_values>(&T::store_keys_values);
  table_.sequence_attention =
      wrap<WorkPart::attention, &T::sequence_attention>(&T::sequence_attention);
  table_.rotary_embedding = wrap<WorkPart::attention, &T::rotary_embedding>(&T::rotary_embedding);
  table_.zero_centered_rms_norm =
      wrap<WorkPart::other, &T::zero_centered_rms_norm>(&T::zero_centered_rms_norm);
  table_.gated_rms_norm = wrap<WorkPart::other, &T::gated_rms_norm>(&T::gated_rms_norm);
  table_.l2_norm = wrap<WorkPart::other, &T::l2_norm>(&T::l2_norm);
  table_.route = wrap<WorkPart::other, &T::route>(&T::route);
  table_.swiglu = wrap<WorkPart::other, &T::swiglu>(&T::swiglu);
  table_.sigmoid_gate = wrap<WorkPart::other, &T::sigmoid_gate>(&T::sigmoid_gate);
  table_.add = wrap<WorkPart::other, &T::add>(&T::add);
  table_.copy_rows = wrap<WorkPart::other, &T::copy_rows>(&T::copy_rows);
  table_.embed = wrap<WorkPart::other, &T::embed>(&T::embed);
}

OpMeter::~OpMeter() { current = nullptr; }

}  // namespace qround
