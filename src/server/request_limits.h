// What one request may ask for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qround::server {

struct RequestLimits {
  size_t max_messages = 4096;
  size_t max_tools = 512;
  size_t max_stops = 64;
  size_t max_stop_bytes = 1024;
  size_t max_logit_biases = 4096;
  int64_t max_choices = 32;  // prompts x n
  int64_t max_top_logprobs = 20;
};

}  // namespace qround::server
