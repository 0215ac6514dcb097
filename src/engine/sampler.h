// Chooses the next token from logits.
//
// Order of the steps, as the common servers have it: penalties over the tokens seen so far,
// temperature, top-k, top-p, min-p, draw. Temperature 0 is greedy: the largest logit, the lowest id
// among equals.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace qround {

struct SamplingOptions {
  float temperature = 0;  // 0: greedy
  int64_t top_k = 0;      // keep the k most likely; 0: all
  float top_p = 1;        // keep the smallest set whose probability reaches p
  float min_p = 0;        // drop tokens less likely than min_p times the likeliest
  float repetition_penalty =
      1;  // divides positive, multiplies negative logits of tokens in prompt and output
  float presence_penalty = 0;   // subtracted once from tokens of the output
  float frequency_penalty = 0;  // subtracted per occurrence in the output
  uint64_t seed = 0;

  // Throws Error naming the option that is out of range.
  void validate() const;
};

// One sequence's sampler: knows the tokens seen so far.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::span<const int32_t> prompt);

  // The next token; logits [vocab] are changed by the penalties. The token counts as seen from now
  // on.
  int32_t sample(std::span<float> logits);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  struct Seen {
    int64_t in_output = 0;
  };

  void penalize(std::span<float> logits) const;
  int32_t draw(std::span<const float> logits);

  SamplingOptions options_;
  std::unordered_map<int32_t, Seen> seen_;
  std::vector<Candidate> candidates_;
  std::vector<double> probabilities_;
  uint64_t drawn_ = 0;
};

}  // namespace qround
