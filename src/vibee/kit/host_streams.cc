// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/host_streams.h"

#include <algorithm>
#include <utility>

namespace vibee {
namespace {

constexpr CudaResult kOk = CudaResult::success;

}  // namespace

template <class Map>
typename Map::mapped_type* HostStreams::find(Map& map, Id id, const char* kind) {
  const auto found = map.find(id);
  if (found != map.end()) return &found->second;
  problem(fmt::format("{} {:#x} is used and is not there: destroyed, or of another driver", kind, id));
  return nullptr;
}

template <class Map>
CudaResult HostStreams::destroy(Map& map, Id id, const char* kind) {
  if (!find(map, id, kind)) return CudaResult::invalid_handle;
  map.erase(id);
  return kOk;
}

HostStreams::Stream* HostStreams::stream(Id id) {
  Stream* const out = find(streams_, id, "stream");
  if (!out || !out->destroyed) return out;
  problem(fmt::format("stream {:#x} is used after it was destroyed", id));
  return nullptr;
}

HostStreams::Event* HostStreams::event(Id id) { return find(events_, id, "event"); }

HostStreams::Id HostStreams::create_stream() {
  streams_[++next_];
  return next_;
}

HostStreams::Id HostStreams::create_event(bool timed) {
  events_[++next_].timed = timed;
  return next_;
}

CudaResult HostStreams::destroy_stream(Id id) {
  Stream* const s = stream(id);
  if (!s) return CudaResult::invalid_handle;
  if (s->capture) {
    const auto capture = s->capture;
    for (auto& [other, in] : streams_)
      if (in.capture == capture) in.capture = nullptr;
    captures_.erase(capture);
  }
  if (s->items.empty())
    streams_.erase(id);
  else
    s->destroyed = true;  // what it was given still runs
  return kOk;
}

CudaResult HostStreams::destroy_event(Id id) { return destroy(events_, id, "event"); }

std::shared_ptr<HostStreams::Ticket> HostStreams::push(Stream& s, Work work) {
  Item item{std::move(work), std::exchange(s.waits, {}), std::make_shared<Ticket>(), submitted_++};
  s.last = item.ticket;
  s.items.push_back(std::move(item));
  return s.last;
}

CudaResult HostStreams::submit(Id id, std::string signature, Work work) {
  Stream* const s = stream(id);
  if (!s) return CudaResult::invalid_handle;
  if (!s->capture) {
    push(*s, std::move(work));
    return kOk;
  }
  Graph& graph = s->capture->graph;
  graph.push_back({std::move(signature), std::move(work), s->tail});
  s->tail = {graph.size() - 1};
  return kOk;
}

CudaResult HostStreams::record(Id event_id, Id stream_id) {
  Event* const e = event(event_id);
  Stream* const s = stream(stream_id);
  if (!e || !s) return CudaResult::invalid_handle;
  e->capture = s->capture, e->tail = s->tail;
  if (!s->capture) e->ticket = push(*s, [] { return kOk; });
  return kOk;
}

CudaResult HostStreams::wait(Id stream_id, Id event_id) {
  Event* const e = event(event_id);
  Stream* const s = stream(stream_id);
  if (!e || !s) return CudaResult::invalid_handle;
  if (e->capture && captures_.count(e->capture)) {
    if (!s->capture) s->capture = e->capture, s->tail = {};  // joins
    if (s->capture != e->capture) return CudaResult::capture_invalidated;
    s->tail.insert(e->tail.begin(), e->tail.end());
    return kOk;
  }
  if (s->capture) return CudaResult::capture_unsupported;  // of work outside of the capture
  if (e->ticket) s->waits.push_back(e->ticket);
  return kOk;
}

bool HostStreams::ready(const Stream& s) const {
  return !s.items.empty() &&
         std::all_of(s.items.front().after.begin(), s.items.front().after.end(), [](const auto& t) { return t->done; });
}

template <class T>
const T& HostStreams::pick(const std::vector<T>& choices) {
  return choices[seed_ == 0 ? 0 : random_() % choices.size()];
}

CudaResult HostStreams::step() {
  std::vector<std::pair<uint64_t, Id>> choices;
  for (const auto& [id, s] : streams_)
    if (ready(s)) choices.push_back({s.items.front().number, id});
  if (choices.empty()) {
    problem("nothing can run: streams wait for one another");
    return CudaResult::unknown;
  }
  std::sort(choices.begin(), choices.end());
  const Id id = pick(choices).second;
  Stream& s = streams_.at(id);
  const Item item = std::move(s.items.front());
  s.items.pop_front();
  const CudaResult r = item.work();
  now_ += 1;
  item.ticket->done = true, item.ticket->time = now_;
  if (s.destroyed && s.items.empty()) streams_.erase(id);
  return r;
}

CudaResult HostStreams::run_until(const std::shared_ptr<Ticket>& ticket) {
  while (ticket && !ticket->done)
    if (const CudaResult r = step(); r != kOk) return r;
  return kOk;
}

CudaResult HostStreams::synchronize_stream(Id id) {
  Stream* const s = stream(id);
  if (!s) return CudaResult::invalid_handle;
  if (s->capture) return CudaResult::capture_unsupported;
  const auto last = s->last;
  if (const CudaResult r = run_until(last); r != kOk) return r;
  for (const auto& ticket : s->waits)
    if (const CudaResult r = run_until(ticket); r != kOk) return r;
  return kOk;
}

CudaResult HostStreams::synchronize_event(Id id) {
  Event* const e = event(id);
  if (!e) return CudaResult::invalid_handle;
  if (e->capture && captures_.count(e->capture)) return CudaResult::capture_unsupported;
  return run_until(e->ticket);
}

CudaResult HostStreams::query_stream(Id id) {
  Stream* const s = stream(id);
  if (!s) return CudaResult::invalid_handle;
  if (s->capture) return CudaResult::capture_unsupported;
  if (s->items.empty()) return kOk;
  const CudaResult r = step();
  return r == kOk ? CudaResult::not_ready : r;
}

CudaResult HostStreams::query_event(Id id) {
  Event* const e = event(id);
  if (!e) return CudaResult::invalid_handle;
  if (!e->ticket || e->ticket->done) return kOk;
  const CudaResult r = step();
  return r == kOk ? CudaResult::not_ready : r;
}

CudaResult HostStreams::elapsed(float* milliseconds, Id begin, Id end) {
  const Event *const b = event(begin), *const e = event(end);
  if (!b || !e || !b->timed || !e->timed || !b->ticket || !e->ticket) return CudaResult::invalid_handle;
  if (!b->ticket->done || !e->ticket->done) return CudaResult::not_ready;
  *milliseconds = float((e->ticket->time - b->ticket->time) / 1000);
  return kOk;
}

CudaResult HostStreams::begin_capture(Id id) {
  Stream* const s = stream(id);
  if (!s) return CudaResult::invalid_handle;
  if (s->capture) return CudaResult::capture_unsupported;
  s->capture = std::make_shared<Capture>();
  s->capture->origin = id, s->tail = {};
  captures_.insert(s->capture);
  return kOk;
}

CudaResult HostStreams::end_capture(Id id, Id* graph) {
  Stream* const s = stream(id);
  if (!s) return CudaResult::invalid_handle;
  const auto capture = s->capture;
  if (!capture || capture->origin != id) return CudaResult::capture_unmatched;
  // Every node has to come before the end of the stream that began: others have joined it again.
  std::set<size_t> before = s->tail;
  for (size_t i = capture->graph.size(); i-- > 0;)
    if (before.count(i)) before.insert(capture->graph[i].after.begin(), capture->graph[i].after.end());
  for (auto& [other, in] : streams_)
    if (in.capture == capture) in.capture = nullptr, in.tail = {};
  captures_.erase(capture);
  if (before.size() != capture->graph.size()) return CudaResult::capture_unjoined;
  if (!graph) return CudaResult::capture_invalidated;  // the caller fails the call
  graphs_[++next_] = std::move(capture->graph);
  *graph = next_;
  return kOk;
}

CudaResult HostStreams::nodes(Id id, size_t* count) {
  const Graph* const g = find(graphs_, id, "graph");
  if (!g) return CudaResult::invalid_handle;
  *count = g->size();
  return kOk;
}

CudaResult HostStreams::destroy_graph(Id id) { return destroy(graphs_, id, "graph"); }

CudaResult HostStreams::instantiate(Id* executable, Id id) {
  const Graph* const g = find(graphs_, id, "graph");
  if (!g) return CudaResult::invalid_handle;
  executables_[++next_] = std::make_shared<Graph>(*g);
  *executable = next_;
  return kOk;
}

CudaResult HostStreams::update(Id executable, Id id, CudaGraphUpdate* answer) {
  auto* const e = find(executables_, executable, "executable graph");
  const Graph* const g = find(graphs_, id, "graph");
  if (!e || !g) return CudaResult::invalid_handle;
  const bool same = std::equal(g->begin(), g->end(), (*e)->begin(), (*e)->end(), [](const Node& a, const Node& b) {
    return a.signature == b.signature && a.after == b.after;
  });
  answer->result = same ? 0 : 2;  // the topology changed
  if (!same) return CudaResult::graph_update_failed;
  *e = std::make_shared<Graph>(*g);  // launches before this one keep theirs
  return kOk;
}

CudaResult HostStreams::run_graph(const Graph& graph) {
  std::vector<bool> done(graph.size());
  for (size_t left = graph.size(); left > 0; --left) {
    std::vector<size_t> choices;
    for (size_t i = 0; i < graph.size(); ++i)
      if (!done[i] && std::all_of(graph[i].after.begin(), graph[i].after.end(), [&](size_t j) { return done[j]; }))
        choices.push_back(i);
    const size_t node = pick(choices);
    if (const CudaResult r = graph[node].work(); r != kOk) return r;
    now_ += 1;
    done[node] = true;
  }
  return kOk;
}

CudaResult HostStreams::launch(Id executable, Id stream_id) {
  auto* const e = find(executables_, executable, "executable graph");
  Stream* const s = stream(stream_id);
  if (!e || !s) return CudaResult::invalid_handle;
  if (s->capture) return CudaResult::capture_unsupported;
  push(*s, [this, graph = *e] { return run_graph(*graph); });
  return kOk;
}

CudaResult HostStreams::destroy_executable(Id id) { return destroy(executables_, id, "executable graph"); }

std::vector<std::string> HostStreams::problems() {
  const auto leaks = [&](size_t count, const char* kind) {
    if (count) problem(fmt::format("{} {} never destroyed", count, kind));
  };
  leaks(size_t(std::count_if(streams_.begin(), streams_.end(), [](const auto& s) { return !s.second.destroyed; })),
        "streams");
  leaks(events_.size(), "events");
  leaks(graphs_.size(), "graphs");
  leaks(executables_.size(), "executable graphs");
  return std::exchange(problems_, {});
}

}  // namespace vibee
