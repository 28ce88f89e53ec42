// SPDX-License-Identifier: Apache-2.0
// Llama (Touvron et al. 2023, arXiv:2302.13971): pre-norm, rotary positions on adjacent pairs (as GGUF stores them),
// SwiGLU.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_llama(const Checkpoint& file, ModelConfig* c) {
  if (file.find("rope_freqs.weight") != nullptr)
    return error(Code::unsupported, "{}: tensor 'rope_freqs.weight': Llama 3 frequency scaling is not built yet",
                 file.path());
  return read_common(file, c);
}

}  // namespace vibee
