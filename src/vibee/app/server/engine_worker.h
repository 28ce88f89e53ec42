// SPDX-License-Identifier: Apache-2.0
// A thread that owns a loaded model and its engine. Requests come in as jobs of one or several prompts; what the engine
// gives comes out on the thread of whoever asked, once a step for everybody. When a step throws, the engine is made
// anew and every job goes on behind the tokens that it gave, with the same bytes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "vibee/app/jobs/embed.h"
#include "vibee/app/jobs/load.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {

/// Who asked: called on the thread that `post` of the worker reaches, in order, not after `done`.
class JobReceiver {
 public:
  virtual ~JobReceiver() = default;
  virtual void token(uint32_t part, TokenEvent event) = 0;
  /// The job ends without the rest of its tokens: it was refused before its first, the engine failed, or token() threw.
  virtual void failed(const Status& status) noexcept = 0;
};

/// Work on the session between two steps of the engine, such as embedding texts. It may throw: the engine is made anew.
using SessionWork = std::function<void(Session&, Engine&)>;

class EngineWorker {
 public:
  using Post = std::function<void(std::function<void()>)>;
  static Result<std::unique_ptr<EngineWorker>> start(const LoadConfig& config, Post post);
  /// Cancels everything and ends the thread.
  ~EngineWorker();

  /// All parts together or, with failed(), none. From any thread; so are all that follow.
  uint64_t submit(std::vector<GenerateRequest> parts, std::shared_ptr<JobReceiver> receiver);
  void cancel(uint64_t job);
  /// Holds a job back, or lets it go on: its client does not keep up.
  void pause(uint64_t job, bool paused);
  void run_on_session(SessionWork work);
  /// A step of one token that nobody asked for, to see whether the model still makes any; age() tells.
  void try_step(Session& session, Engine& engine);

  const Loaded& loaded() const { return loaded_; }
  const LoadConfig& config() const { return config_; }
  /// The adapters that were loaded at the start, for whoever keeps them by name.
  std::vector<LoadedAdapter> take_adapters() { return std::exchange(loaded_.adapters, {}); }

  struct View {
    uint32_t running = 0, waiting = 0;                   ///< prompts
    uint32_t pages = 0, free_pages = 0, kept_pages = 0;  ///< kept: of nobody, findable
    EngineStats stats;
    double last_step_s = 0;
    uint64_t failures = 0;  ///< times that the engine was made anew
  };
  View view() const;
  /// One of the last steps; only for work on the session (run_on_session).
  struct StepRecord {
    uint64_t number = 0;
    uint32_t prompt_rows = 0, generated = 0;
    double ms = 0;
  };
  const std::deque<StepRecord>& last_steps() const { return last_steps_; }
  /// Seconds since a step ended well; of a worker that never made one, since it started.
  double age() const;
  /// Whether it has nothing to do.
  bool idle() const { return jobs_under_way_ == 0; }
  /// What a watchdog looks at: whether the thread is at work, a number that grows as it gets on, and for how many
  /// seconds that may stand still.
  struct Pulse {
    bool busy;
    uint64_t progress;
    double allowed_s;
  };
  Pulse pulse() const;

 private:
  struct Part {
    GenerateRequest request;  ///< with the tokens that were given
    uint32_t number = 0;      ///< of the engine
    bool finished = false;
  };
  struct Job {
    uint64_t id;
    std::vector<Part> parts;
    std::shared_ptr<JobReceiver> receiver;
    bool paused = false;
    uint32_t failures = 0;  ///< of the engine since its last token
  };
  struct Cancel {
    uint64_t id;
  };
  struct Pause {
    uint64_t id;
    bool paused;
  };
  using Message = std::variant<Job, Cancel, Pause, SessionWork>;
  /// What goes to a receiver: a token of a part, or a Status other than ok.
  struct Event {
    std::shared_ptr<JobReceiver> receiver;
    uint64_t job;
    uint32_t part;
    TokenEvent token;
    Status status;
    bool may_wait = false;  ///< neither the first token of a text, nor its last
  };
  static constexpr uint32_t kMostFailures = 3;

  EngineWorker(const LoadConfig& config, Post post) : config_(config), post_(std::move(post)) {}
  void loop();
  void turn();
  void send(Message message);
  void take(Message& message);
  Status submit(Job& job);
  void on_token(const TokenEvent& event);
  void end(uint64_t job);
  void fail(Job& job, const Status& status);
  void restart(const Status& why);
  void tell(bool all);
  void deliver();
  void show();

  LoadConfig config_;
  Post post_;
  Loaded loaded_;
  std::optional<Engine> engine_;
  std::vector<Job> running_;                    // of the thread
  std::vector<Message> messages_;               // of the thread
  std::vector<Event> events_;                   // of the thread: of the present turn
  std::deque<StepRecord> last_steps_;           // of the thread
  std::chrono::steady_clock::time_point told_;  // of the thread: when tokens were handed over last

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::vector<Message> inbox_;
  std::vector<Event> outbox_;
  bool stop_ = false;
  View view_;
  std::chrono::steady_clock::time_point last_good_ = std::chrono::steady_clock::now();

  std::atomic<uint64_t> next_job_ = 1, jobs_under_way_ = 0, turns_ = 0;
  std::atomic<bool> busy_ = false;
  std::thread thread_;
};

}  // namespace vibee
