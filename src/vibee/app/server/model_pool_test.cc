// SPDX-License-Identifier: Apache-2.0
// Models under one budget: how it is shared, who goes for whom, and what waits for whom.
#include "vibee/app/server/model_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vibee/kit/tiny_model.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// The thread of a server: calls that others post, run one by one.
class Calls {
 public:
  EngineWorker::Post post() {
    return [this](std::function<void()> call) {
      const std::lock_guard lock(mutex_);
      calls_.push_back(std::move(call));
      wake_.notify_one();
    };
  }
  /// Runs what comes until `done`.
  void run_until(const std::function<bool()>& done) {
    while (!done()) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return !calls_.empty(); });
      const auto call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      call();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> calls_;
};

class ModelPoolTest : public testing::Test {
 protected:
  ModelPoolTest() : file_(tiny()) {
    PooledModel m = model("any");
    EXPECT_TRUE(share_memory({&m, 1}, uint64_t(1) << 30).ok());
    bytes_ = m.plan.total();
  }
  static TinyModel tiny() {
    TinyModel m;
    m.vocab = 300;
    m.tokenizer = true;
    return m;
  }
  PooledModel model(const std::string& id) {
    PooledModel m;
    m.id = id;
    m.config.model = file_.path();
    m.config.context = 64;
    m.config.threads = 1;
    return m;
  }
  std::vector<PooledModel> models_of(const std::vector<std::string>& ids) {
    std::vector<PooledModel> out;
    for (const std::string& id : ids) out.push_back(model(id));
    return out;
  }
  /// A pool of models that are loaded when they are asked for, with memory for `places` of them.
  std::unique_ptr<ModelPool> pool_of(const std::vector<std::string>& ids, uint64_t places) {
    auto pool = std::make_unique<ModelPool>(places * bytes_, "", calls_.post());
    std::vector<PooledModel> models = models_of(ids);
    for (PooledModel& m : models) m.at_start = false;
    EXPECT_TRUE(share_memory(models, pool->budget()).ok());
    for (PooledModel& m : models) EXPECT_TRUE(pool->add(std::move(m)).ok());
    return pool;
  }
  Status load(ModelPool& pool, const std::string& id) {
    PooledModel& m = *pool.find(id);
    VIBEE_TRY(pool.make_room(m));
    return wait([&](ModelPool::Then then) { pool.load(m, std::move(then)); });
  }
  Status wait(const std::function<void(ModelPool::Then)>& begin) {
    std::optional<Status> ended;
    begin([&](const Status& s) { ended = s; });
    calls_.run_until([&] { return ended.has_value(); });
    return *ended;
  }

  TinyModelFile file_;
  uint64_t bytes_ = 0;  ///< of one model
  Calls calls_;
};

TEST_F(ModelPoolTest, ABudgetIsShared) {
  std::vector<PooledModel> models = models_of({"a", "b", "c"});
  ASSERT_TRUE(share_memory(models, 3 * bytes_).ok());
  for (const PooledModel& m : models) EXPECT_TRUE(m.at_start) << m.id;
  ASSERT_TRUE(share_memory(models, 3 * bytes_ - 1).ok());
  EXPECT_TRUE(models[1].at_start);
  EXPECT_FALSE(models[2].at_start);
  const Status s = share_memory(models, bytes_ - 1);
  EXPECT_EQ(s.code(), Code::no_memory);
  EXPECT_THAT(s.message(), HasSubstr("allowed by --memory"));
}

TEST_F(ModelPoolTest, EachTakesLessSoThatAllHaveTheirLeast) {
  std::vector<PooledModel> models = models_of({"a", "b"});
  for (PooledModel& m : models) {
    m.config.batch = 8;
    m.config.chunk = 8;
    m.config.shrink_pages = true;
  }
  ASSERT_TRUE(share_memory(models, uint64_t(1) << 30).ok());
  const uint64_t whole = models[0].plan.total(), most = models[0].plan.page_count;
  const uint64_t budget = 2 * whole - 3 * models[0].plan.page_bytes;
  ASSERT_TRUE(share_memory(models, budget).ok());
  EXPECT_TRUE(models[0].at_start && models[1].at_start);
  EXPECT_EQ(models[0].plan.page_count, most);
  EXPECT_EQ(models[1].plan.page_count, most - 3);
  EXPECT_LE(models[0].plan.total() + models[1].plan.total(), budget);
}

TEST_F(ModelPoolTest, TheLeastRecentlyUsedGoes) {
  auto pool = pool_of({"a", "b", "c"}, 2);
  ASSERT_TRUE(load(*pool, "a").ok());
  ASSERT_TRUE(load(*pool, "b").ok());
  ServedModel& a = *pool->find("a")->served;
  pool->begin_use(a);
  pool->end_use(a);
  ASSERT_TRUE(load(*pool, "c").ok());
  EXPECT_EQ(pool->find("a")->state, ModelState::ready);
  EXPECT_EQ(pool->find("b")->state, ModelState::unloaded);
  EXPECT_EQ(pool->find("c")->state, ModelState::ready);
  ASSERT_TRUE(load(*pool, "b").ok());  // again, in the place of a
  EXPECT_EQ(pool->find("a")->state, ModelState::unloaded);
}

TEST_F(ModelPoolTest, WhatIsInUseStays) {
  auto pool = pool_of({"a", "b"}, 1);
  ASSERT_TRUE(load(*pool, "a").ok());
  ServedModel& a = *pool->find("a")->served;
  pool->begin_use(a, 2);
  const Status full = load(*pool, "b");
  EXPECT_EQ(full.code(), Code::no_memory);
  EXPECT_THAT(full.message(), HasSubstr("in use by a"));
  EXPECT_EQ(pool->find("a")->state, ModelState::ready);
  bool ended = false;
  pool->unload(*pool->find("a"), [&](const Status&) { ended = true; });
  EXPECT_EQ(pool->find("a")->state, ModelState::unloading);
  pool->end_use(a);
  EXPECT_TRUE(pool->find("a")->served);
  pool->end_use(a);
  EXPECT_FALSE(pool->find("a")->served);
  calls_.run_until([&] { return ended; });
  EXPECT_EQ(pool->find("a")->state, ModelState::unloaded);
  EXPECT_TRUE(load(*pool, "b").ok());
}

TEST_F(ModelPoolTest, AFileThatHasGoneIsAFailureUntilItIsThere) {
  auto pool = pool_of({"a"}, 1);
  const std::string away = file_.path() + ".away";
  std::filesystem::rename(file_.path(), away);
  EXPECT_FALSE(load(*pool, "a").ok());
  EXPECT_EQ(pool->find("a")->state, ModelState::unloaded);
  EXPECT_THAT(pool->find("a")->failure, HasSubstr(file_.path()));
  std::filesystem::rename(away, file_.path());
  EXPECT_TRUE(load(*pool, "a").ok());
  EXPECT_EQ(pool->find("a")->failure, "");
}

TEST_F(ModelPoolTest, ManyWaitForOneLoad) {
  auto pool = pool_of({"a"}, 1);
  PooledModel& a = *pool->find("a");
  int ended = 0;
  for (int i = 0; i < 5; ++i) pool->load(a, [&](const Status& s) { ended += s.ok(); });
  EXPECT_EQ(a.state, ModelState::loading);
  const ServedModel* served = nullptr;
  calls_.run_until([&] { return ended > 0; });
  served = a.served.get();
  EXPECT_EQ(ended, 5);
  pool->load(a, [&](const Status& s) { ended += s.ok(); });  // at once
  EXPECT_EQ(ended, 6);
  EXPECT_EQ(a.served.get(), served);
}

TEST_F(ModelPoolTest, EndsWhileALoadIsUnderWay) {
  auto pool = pool_of({"a", "b"}, 2);
  pool->load(*pool->find("a"), [](const Status&) { FAIL() << "nobody runs calls any more"; });
  pool->load(*pool->find("b"), [](const Status&) { FAIL(); });
  pool = nullptr;
}

}  // namespace
}  // namespace vibee
