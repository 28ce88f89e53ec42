// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/trace_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

constexpr auto kPeriod = std::chrono::seconds(1);

bool is_id(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos &&
         text.find_first_not_of('0') != text.npos;  // all zeros is no id
}

std::string attribute(std::string_view key, std::string_view kind, std::string value) {
  return JsonObject().text("key", key).raw("value", JsonObject().raw(kind, std::move(value)).str()).str();
}
std::string attribute(std::string_view key, std::string_view text) {
  return attribute(key, "stringValue", json_quote(text));
}
// 64-bit numbers are strings in this form.
std::string attribute(std::string_view key, uint64_t number) {
  return attribute(key, "intValue", fmt::format("\"{}\"", number));
}

}  // namespace

TraceParent parse_traceparent(std::string_view header) {
  // version "-" trace "-" parent "-" flags; later versions may add more behind another "-".
  if (header.size() < 55 || header[2] != '-' || header[35] != '-' || header[52] != '-') return {};
  const std::string_view version = header.substr(0, 2), trace = header.substr(3, 32), span = header.substr(36, 16),
                         flags = header.substr(53, 2);
  constexpr std::string_view kHex = "0123456789abcdef";
  const bool hex = version.find_first_not_of(kHex) == version.npos && flags.find_first_not_of(kHex) == flags.npos;
  const bool known =
      version == "00" ? header.size() == 55 : version != "ff" && (header.size() == 55 || header[55] == '-');
  if (!hex || !known || !is_id(trace, 32) || !is_id(span, 16)) return {};
  return {std::string(trace), std::string(span), kHex.find(flags[1]) % 2 == 1};
}

std::string otlp_json(const std::vector<RequestTrace>& batch, std::mt19937_64& random) {
  const auto id = [&](int words) {
    std::string out;
    for (int i = 0; i < words; ++i) out += fmt::format("{:016x}", std::max<uint64_t>(1, random()));
    return out;
  };
  std::vector<std::string> spans;
  for (const RequestTrace& r : batch) {
    const std::string trace = r.parent.trace.empty() ? id(2) : r.parent.trace, root = id(1);
    const auto end = std::chrono::duration_cast<std::chrono::nanoseconds>(r.end.time_since_epoch()).count();
    const auto begin = end - int64_t(1e9 * r.total_s);
    const auto span = [&](std::string_view name, const std::string& self, const std::string& parent, int kind,
                          int64_t from, int64_t to) {
      JsonObject out;
      out.text("traceId", trace).text("spanId", self);
      if (!parent.empty()) out.text("parentSpanId", parent);
      out.text("name", name).raw("kind", std::to_string(kind));  // 1: internal, 2: server
      out.text("startTimeUnixNano", std::to_string(from)).text("endTimeUnixNano", std::to_string(std::max(from, to)));
      return out;
    };
    JsonObject whole = span(r.route, root, r.parent.span, 2, begin, end);
    whole.raw("attributes", json_array(std::vector<std::string>{
                                attribute("http.route", r.route), attribute("gen_ai.request.model", r.model),
                                attribute("gen_ai.usage.input_tokens", r.prompt_tokens),
                                attribute("gen_ai.usage.output_tokens", r.generated_tokens),
                                attribute("vibee.cached_tokens", r.cached_tokens),
                                attribute("vibee.outcome", r.outcome), attribute("vibee.request_id", r.id)}));
    if (r.outcome != "ok") whole.raw("status", JsonObject().raw("code", "2").text("message", r.outcome).str());
    spans.push_back(whole.str());
    int64_t at = begin;
    for (const auto& [name, seconds] :
         {std::pair("queue", r.queue_s), {"prompt", r.prompt_s}, {"decode", r.decode_s}}) {
      if (seconds <= 0) continue;  // it never came so far
      const int64_t to = std::min<int64_t>(end, at + int64_t(1e9 * seconds));
      spans.push_back(span(name, id(1), root, 1, at, to).str());
      at = to;
    }
  }
  const std::string scope =
      JsonObject().raw("scope", JsonObject().text("name", "vibee.serve").str()).raw("spans", json_array(spans)).str();
  const std::string resource =
      JsonObject()
          .raw("resource",
               JsonObject()
                   .raw("attributes", json_array(std::vector<std::string>{attribute("service.name", "vibee")}))
                   .str())
          .raw("scopeSpans", "[" + scope + "]")
          .str();
  return "{\"resourceSpans\": [" + resource + "]}";
}

Result<std::unique_ptr<TraceExporter>> TraceExporter::start(const std::string& url) {
  std::unique_ptr<TraceExporter> out(new TraceExporter);
  VIBEE_ASSIGN(out->url_, parse_url(url));
  if (!out->url_.path.empty()) out->target_ = std::exchange(out->url_.path, {});
  HttpClientOptions options;
  options.connect_s = 3;
  options.silent_s = 5;  // it ends with the server, which does not wait for long
  VIBEE_ASSIGN(out->client_, HttpClient::create(options));
  out->waiting_.reserve(kMostWaiting);
  out->thread_ = std::thread([exporter = out.get()] { exporter->loop(); });
  return out;
}

TraceExporter::~TraceExporter() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void TraceExporter::add(RequestTrace trace) noexcept {
  if (!trace.parent.sampled) return;
  const std::lock_guard lock(mutex_);
  if (waiting_.size() >= kMostWaiting) {
    ++dropped_;
    return;
  }
  waiting_.push_back(std::move(trace));  // there is room: it was reserved
  if (waiting_.size() == kBatch) wake_.notify_one();
}

void TraceExporter::loop() {
  for (bool last = false; !last;) {
    std::vector<RequestTrace> batch;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kPeriod, [&] { return stop_ || waiting_.size() >= kBatch; });
      last = stop_;
      try {
        batch.reserve(kMostWaiting);
      } catch (const std::bad_alloc&) {
        continue;  // they stay until there is memory
      }
      batch.swap(waiting_);
    }
    if (batch.empty()) continue;
    bool taken = false;
    try {
      taken = send(batch);
    } catch (const std::bad_alloc&) {
    }
    (taken ? sent_ : dropped_) += batch.size();
  }
}

bool TraceExporter::send(const std::vector<RequestTrace>& batch) {
  HttpCall call;
  call.method = "POST";
  call.target = target_;
  call.headers = {{"Content-Type", "application/json"}};
  call.body = otlp_json(batch, random_);
  const auto answer = http_fetch(*client_, url_, std::move(call));
  return answer.ok() && answer->status / 100 == 2;
}

}  // namespace vibee
