// Waits for the choices of an answer together, and watches the client meanwhile.
#pragma once

#include <functional>
#include <vector>

#include "server/choice.h"
#include "server/http_exchange.h"
#include "server/server_metrics.h"

namespace qround::server {

struct AnswerCallbacks {
  // Something came for a choice. False: the client does not take it any more.
  std::function<bool(size_t choice, ChoiceUpdate& update)> update;
  // Nothing came for a while.
  std::function<void()> idle;
};

enum class AnswerEnd {
  complete,
  client_gone,  // all choices were cancelled
  cut,          // the server stops; all choices were cancelled
};

// Returns when every choice is finished or nobody waits for it. Throws ApiError when a choice
// failed.
AnswerEnd run_choices(std::vector<Choice>& choices, HttpExchange& exchange, ServerMetrics& metrics,
                      const AnswerCallbacks& callbacks);

}  // namespace qround::server
