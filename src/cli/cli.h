// The command line: a table of commands, one file each.
#pragma once

namespace qround {

// Runs `qround <command> ...` and returns the exit status (docs/commands.md): 0 done, 1 the thing
// checked is wrong, 2 bad usage or input, 3 out of a resource, 130 interrupted.
int run_command_line(int argc, char** argv);

}  // namespace qround
