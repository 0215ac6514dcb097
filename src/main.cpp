#include "cli/cli.h"

int main(int argc, char** argv) { return qround::run_command_line(argc, argv); }
