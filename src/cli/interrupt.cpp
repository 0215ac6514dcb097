#include "cli/interrupt.h"

#include <unistd.h>

#include <csignal>

namespace qround {
namespace {

constexpr int kInterruptedStatus = 130;

// A signal handler can reach nothing but globals.
std::atomic<bool> requested{false};

void on_signal(int) {
  if (requested.exchange(true)) _exit(kInterruptedStatus);
}

}  // namespace

const std::atomic<bool>& interrupt_flag() {
  static const bool installed = [] {
    struct sigaction action{};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    return true;
  }();
  static_cast<void>(installed);
  return requested;
}

void clear_interrupt() { requested = false; }

}  // namespace qround
