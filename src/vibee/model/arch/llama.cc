// SPDX-License-Identifier: Apache-2.0
// Llama 1 to 3 (Touvron et al. 2023, arXiv:2302.13971; Llama 3 frequency factors from rope_freqs.weight), Mistral (its
// window) and Mixtral (arXiv:2401.04088; experts): pre-norm, rotary positions on adjacent pairs (as GGUF stores them),
// SwiGLU.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_llama(const Checkpoint& file, ModelConfig* c) { return read_common(file, c); }

}  // namespace vibee
