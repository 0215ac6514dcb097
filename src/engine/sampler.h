// Chooses the next token from logits.
//
// Order of the steps, as the common servers have it: biases, penalties over the tokens seen so far,
// temperature, top-k, top-p, min-p, draw. Temperature 0 is greedy: the largest logit, the lowest id
// among equals. The n-th choice of a sampler uses the n-th number of its seed, whatever was drafted
// before.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qround {

struct LogitBias {
  int32_t token = 0;
  float bias = 0;  // added to the logit
};

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
  Sampler(const SamplingOptions& options, std::span<const int32_t> prompt,
          std::vector<LogitBias> biases = {});

  // Room for logits of `vocab` tokens and for `outputs` choices, so that choosing allocates
  // nothing.
  void reserve(size_t vocab, size_t outputs);

  // adjust, then choose.
  int32_t sample(std::span<float> logits);
  // Applies biases and penalties to logits [vocab].
  void adjust(std::span<float> logits);
  // The next token from adjusted logits; it counts as seen from now on. Throws Error when every
  // logit is minus infinity or one is not a number.
  int32_t choose(std::span<const float> logits);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  struct Seen {
    int32_t token = 0;
    int64_t in_output = 0;
  };

  bool penalizes() const;
  Seen& seen(int32_t token);
  void sort_candidates(size_t count);
  int32_t draw(std::span<const float> logits);

  SamplingOptions options_;
  std::vector<LogitBias> biases_;
  std::vector<Seen> seen_;         // tokens seen, when something is penalized
  std::vector<int32_t> place_of_;  // token -> place in seen_, or -1
  std::vector<Candidate> candidates_;
  std::vector<double> probabilities_;
  size_t sorted_ = 0;  // candidates in their final order
  uint64_t drawn_ = 0;
};

}  // namespace qround
