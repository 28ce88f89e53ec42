// SPDX-License-Identifier: Apache-2.0
// v1672: whatever the cut, the same logits and the same stored bytes; steps never have more rows than asked; work
// memory does not grow with the prompt.
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {

Status check_chunked_prefill(CheckContext& context) {
  for (const char* part : {"shortest prompt first (`split = srpt`)", "pages of a window freed behind the chunk",
                           "progress events to a client"})
    context.not_built(part);
  if (context.describe_only()) return {};
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), false));
  constexpr uint32_t kTokens = 301;
  const std::vector<int32_t> prompt = model.prompt(kTokens, 1);
  VIBEE_ASSIGN(const auto session, model.session({512, 2, 512, 1, KvFormat::f16}));
  std::vector<float> want;
  std::vector<uint8_t> stored;
  size_t differing = 0, compared = 0;
  for (const uint32_t chunk : {kTokens, 1u, 2u, 3u, 7u, 16u, 63u, 64u, 255u, 256u, 257u, 0u}) {
    if (!context.proceed("cuts", 0.3)) return error(Code::cancelled, "stopped");
    RandomStream random(context.settings().seed, Purpose::test);
    SequenceState state = session->new_sequence();
    std::vector<float> logits;
    while (state.length() < kTokens) {
      const uint32_t n = std::min(chunk ? chunk : 1 + random.below(50), kTokens - state.length());
      const StepRows rows{&state, std::span(prompt).subspan(state.length(), n),
                          state.length() + n == kTokens ? 1u : 0u};
      VIBEE_ASSIGN(const auto out, session->step({&rows, 1}));
      logits.assign(out.begin(), out.end());
    }
    const std::vector<uint8_t> bytes = state.snapshot();
    if (want.empty()) {
      want = logits;
      stored = bytes;
    }
    compared += logits.size() * 4 + bytes.size();
    differing += std::memcmp(logits.data(), want.data(), want.size() * 4) != 0 || bytes != stored;
  }
  context.equal("cuts that change logits or stored bytes", double(differing), 0, "",
                fmt::format("12 cuts, {} bytes compared", compared));

  // Two prompts that come while others generate: no step has more rows than the chunk.
  VIBEE_ASSIGN(const auto small, model.session({512, 6, 64, 6, KvFormat::f16}));
  EngineOptions options;
  options.chunk = 24;
  std::vector<TrialRequest> requests = {
      {model.prompt(5, 2), 40, 0}, {model.prompt(9, 3), 40, 0}, {prompt, 4, 0}, {model.prompt(200, 4), 4, 0}};
  Engine engine(*small, options);
  for (const TrialRequest& r : requests) {
    GenerateRequest request;
    request.prompt = r.prompt;
    request.max_tokens = r.tokens;
    request.ignore_end = true;
    VIBEE_TRY(engine.submit(std::move(request)).take_status());
  }
  uint64_t most = 0, before = 0;
  while (!engine.idle()) {
    VIBEE_TRY(engine.step({}));
    most = std::max(most, engine.stats().rows - before);
    before = engine.stats().rows;
  }
  context.at_most("rows of the largest step", double(most), 24);
  VIBEE_ASSIGN(const auto cut, model.session({4096, 1, 64, 1, KvFormat::f16}));
  VIBEE_ASSIGN(const auto whole, model.session({4096, 1, 4096, 1, KvFormat::f16}));
  context.at_most("work memory for 4096 tokens, chunks of 64 over whole prompts",
                  double(cut->plan().arena_size()) / double(whole->plan().arena_size()), 0.25, "x",
                  "a 64th of the rows; the rest serves the context");
  return {};
}

}  // namespace vibee
