// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/builtin_model.h"

// A literal of four million bytes would take a compiler minutes.
asm(".pushsection .rodata\n"
    ".balign 64\n"
    "vibee_builtin_model_begin:\n"
    ".incbin \"" VIBEE_BUILTIN_MODEL
    "\"\n"
    "vibee_builtin_model_end:\n"
    ".popsection\n");

extern "C" const uint8_t vibee_builtin_model_begin[], vibee_builtin_model_end[];

namespace vibee {

std::shared_ptr<const ByteSource> builtin_model() {
  return memory_view(std::span(vibee_builtin_model_begin, vibee_builtin_model_end));
}

}  // namespace vibee
