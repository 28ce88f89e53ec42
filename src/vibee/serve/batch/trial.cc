// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/trial.h"

#include <algorithm>
#include <numeric>
#include <thread>

namespace vibee {

double Trial::rate() const {
  const size_t n = std::accumulate(tokens.begin(), tokens.end(), size_t{0},
                                   [](size_t sum, const auto& t) { return sum + t.size(); });
  return seconds > 0 ? double(n) / seconds : 0;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, size_t(q * double(values.size())))];
}

Result<Trial> run_trial(Session& session, const EngineOptions& options, std::span<const TrialRequest> requests,
                        const std::function<bool(const Trial&)>& enough) {
  using Clock = std::chrono::steady_clock;
  Trial out;
  out.tokens.resize(requests.size());
  out.first_token_s.resize(requests.size());
  out.queue_s.resize(requests.size());
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].arrival_s < requests[b].arrival_s; });
  std::vector<double> last(requests.size());
  Engine engine(session, options);
  const auto begin = Clock::now();
  const auto now = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const auto on_token = [&](const TokenEvent& e) {
    const size_t i = order[e.request];  // submitted in this order
    const double at = now();
    if (out.tokens[i].empty()) {
      out.first_token_s[i] = at - requests[i].arrival_s;
      out.queue_s[i] = out.first_token_s[i] - e.times.prompt;
    } else {
      out.gaps_s.push_back(at - last[i]);
    }
    last[i] = at;
    out.tokens[i].push_back(e.sampled.token);
    out.seconds = at;
  };
  size_t sent = 0;
  while (sent < order.size() || !engine.idle()) {
    for (; sent < order.size() && requests[order[sent]].arrival_s <= now(); ++sent) {
      const TrialRequest& r = requests[order[sent]];
      GenerateRequest request;
      request.prompt = r.prompt;
      request.max_tokens = r.tokens;
      request.ignore_end = true;
      request.space = r.space;
      VIBEE_TRY(engine.submit(std::move(request)).take_status());
    }
    if (engine.idle()) {
      std::this_thread::sleep_for(std::chrono::duration<double>(requests[order[sent]].arrival_s - now()));
    } else {
      VIBEE_TRY(engine.step(on_token));
      if (enough && enough(out)) break;
    }
  }
  out.stats = engine.stats();
  return out;
}

}  // namespace vibee
