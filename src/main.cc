// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/cli.h"

int main(int argc, char** argv) { return vibee::run_cli(argc, argv); }
