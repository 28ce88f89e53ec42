// SPDX-License-Identifier: Apache-2.0
// A thread that owns a loaded model and its engine. Requests come in as jobs of one or several prompts; what the engine
// gives comes out on the thread of whoever asked, once a step for everybody.
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
  /// The job ends without the rest of its tokens: it was refused before its first, or the engine failed.
  virtual void failed(const Status& status) = 0;
};

/// Work on the session between two steps of the engine, such as embedding texts.
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
  /// A step of one token that nobody asked for, to see whether the model still makes any; age() tells. `done` is called
  /// on the worker's thread.
  void try_step(std::function<void()> done);

  const Loaded& loaded() const { return loaded_; }
  const LoadConfig& config() const { return config_; }

  struct View {
    uint32_t running = 0, waiting = 0;                   ///< prompts
    uint32_t pages = 0, free_pages = 0, kept_pages = 0;  ///< kept: of nobody, findable
    EngineStats stats;
    double last_step_s = 0;
    uint64_t failures = 0;  ///< steps that failed
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

 private:
  struct Job {
    uint64_t id;
    std::vector<GenerateRequest> parts;
    std::shared_ptr<JobReceiver> receiver;
  };
  struct Cancel {
    uint64_t id;
  };
  struct Pause {
    uint64_t id;
    bool paused;
  };
  using Message = std::variant<Job, Cancel, Pause, SessionWork>;
  struct Running {
    uint64_t id;
    std::vector<uint32_t> requests;  ///< of the engine, of parts not finished; index: part
    uint32_t unfinished;
    std::shared_ptr<JobReceiver> receiver;
  };

  EngineWorker(const LoadConfig& config, Post post) : config_(config), post_(std::move(post)) {}
  void loop();
  void send(Message message);
  void take(Message message);
  void begin(Job job);
  void end(uint64_t job);
  void show();

  LoadConfig config_;
  Post post_;
  Loaded loaded_;
  std::optional<Engine> engine_;
  std::vector<Running> running_;       // of the thread
  std::deque<StepRecord> last_steps_;  // of the thread

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::vector<Message> inbox_;
  bool stop_ = false;
  View view_;
  std::chrono::steady_clock::time_point last_good_ = std::chrono::steady_clock::now();

  std::atomic<uint64_t> next_job_ = 1, jobs_under_way_ = 0;
  std::thread thread_;
};

}  // namespace vibee
