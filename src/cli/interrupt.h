// Ctrl-C and SIGTERM: the first asks the running command to stop at its next safe point, the second
// ends the process.
#pragma once

#include <atomic>

namespace qround {

// Installs the handlers on first use. True after the first signal.
const std::atomic<bool>& interrupt_flag();

// Forgets a signal that was dealt with, so that the next one asks again.
void clear_interrupt();

}  // namespace qround
