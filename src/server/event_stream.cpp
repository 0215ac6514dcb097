#include "server/event_stream.h"

namespace qround::server {

EventStream::EventStream(HttpExchange& exchange) : exchange_(exchange) {
  exchange_.add_header("Cache-Control", "no-cache");
  exchange_.add_header("X-Accel-Buffering", "no");  // nginx passes events on at once
  exchange_.start_stream("text/event-stream; charset=utf-8");
}

bool EventStream::send(const Json& data) {
  return exchange_.write("data: " + data.dump() + "\n\n");
}

void EventStream::keep_alive() { exchange_.write(": keep-alive\n\n"); }

void EventStream::done() {
  exchange_.write("data: [DONE]\n\n");
  exchange_.end_stream();
}

}  // namespace qround::server
