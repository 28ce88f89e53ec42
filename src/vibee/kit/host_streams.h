// SPDX-License-Identifier: Apache-2.0
// Streams, events and graphs of a driver that runs on the host. Work runs when somebody waits for it: in order within a
// stream, and between streams in an order that a seed permutes among what events leave free, so that a wait that was
// forgotten shows.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "vibee/core/device/cuda_driver.h"

namespace vibee {

class HostStreams {
 public:
  using Id = uintptr_t;                      ///< of a stream, an event, a graph or an executable: never used again
  using Work = std::function<CudaResult()>;  ///< what is not success loses the device

  explicit HostStreams(uint64_t seed) : seed_(seed), random_(seed) {}

  Id create_stream();
  Id create_event(bool timed);
  CudaResult destroy_stream(Id id);
  CudaResult destroy_event(Id id);
  /// `signature` says what the work is beside its arguments: where it changes, a graph is not updated.
  CudaResult submit(Id stream, std::string signature, Work work);
  CudaResult record(Id event, Id stream);
  CudaResult wait(Id stream, Id event);
  CudaResult synchronize_stream(Id stream);
  CudaResult synchronize_event(Id event);
  /// not_ready where something is left; runs one piece of work each time, so that polling ends.
  CudaResult query_stream(Id stream);
  CudaResult query_event(Id event);
  CudaResult elapsed(float* milliseconds, Id begin, Id end);

  CudaResult begin_capture(Id stream);
  CudaResult end_capture(Id stream, Id* graph);
  bool capturing() const { return !captures_.empty(); }
  CudaResult nodes(Id graph, size_t* count);
  CudaResult destroy_graph(Id graph);
  CudaResult instantiate(Id* executable, Id graph);
  CudaResult update(Id executable, Id graph, CudaGraphUpdate* answer);
  CudaResult launch(Id executable, Id stream);
  CudaResult destroy_executable(Id executable);

  /// Microseconds of the device's clock: one a piece of work.
  double now() const { return now_; }
  /// Problems so far, and what was not destroyed.
  std::vector<std::string> problems();
  void problem(std::string text) { problems_.push_back(std::move(text)); }

 private:
  struct Ticket {
    bool done = false;
    double time = 0;
  };
  struct Item {
    Work work;
    std::vector<std::shared_ptr<Ticket>> after;
    std::shared_ptr<Ticket> ticket;
    uint64_t number = 0;  ///< in order of submission
  };
  struct Node {
    std::string signature;
    Work work;
    std::set<size_t> after;
  };
  using Graph = std::vector<Node>;
  struct Capture {
    Graph graph;
    Id origin = 0;
  };
  struct Stream {
    std::deque<Item> items;
    std::vector<std::shared_ptr<Ticket>> waits;  ///< of the next item
    std::shared_ptr<Ticket> last;
    std::shared_ptr<Capture> capture;
    std::set<size_t> tail;  ///< nodes that the next one of a capture comes after
    bool destroyed = false;
  };
  struct Event {
    std::shared_ptr<Ticket> ticket;
    std::shared_ptr<Capture> capture;
    std::set<size_t> tail;
    bool timed = false;
  };

  Stream* stream(Id id);
  Event* event(Id id);
  template <class Map>
  typename Map::mapped_type* find(Map& map, Id id, const char* kind);
  template <class Map>
  CudaResult destroy(Map& map, Id id, const char* kind);
  std::shared_ptr<Ticket> push(Stream& stream, Work work);
  bool ready(const Stream& stream) const;
  /// Runs one piece of work that may run.
  CudaResult step();
  CudaResult run_until(const std::shared_ptr<Ticket>& ticket);
  CudaResult run_graph(const Graph& graph);
  template <class T>
  const T& pick(const std::vector<T>& choices);

  uint64_t seed_;
  std::mt19937_64 random_;
  Id next_ = 0x1000;
  uint64_t submitted_ = 0;
  double now_ = 0;
  std::map<Id, Stream> streams_;
  std::map<Id, Event> events_;
  std::map<Id, Graph> graphs_;
  std::map<Id, std::shared_ptr<Graph>> executables_;
  std::set<std::shared_ptr<Capture>> captures_;
  std::vector<std::string> problems_;
};

}  // namespace vibee
