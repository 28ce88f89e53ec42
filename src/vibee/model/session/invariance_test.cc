// SPDX-License-Identifier: Apache-2.0
// Same request, same bytes: the logits of every position of 20 seeded requests, run in random company (batches of 1 to
// 16 sequences, whole and chunked prefill, 1 and 2 threads, fresh and forked states, random order), compared by memcmp
// with the request run alone.
#include <gtest/gtest.h>

#include <cstring>
#include <list>

#include "vibee/kit/tiny_model.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

/// Sanitizers slow steps some twenty times; they look for faults of memory and threads, which need fewer repetitions.
constexpr uint32_t repetitions(uint32_t count) { return VIBEE_SANITIZE_BUILD ? (count + 39) / 40 : count; }

struct Spread {
  uint32_t requests = 20, shortest = 1, longest = 6;  ///< tokens of a request
  uint32_t tail = 16;  ///< more tokens for every tenth request, so that states of several pages are among them
  uint32_t context = 64, max_rows = 48;
  uint32_t fork_from = 0;  ///< forked states have at least this many tokens
  bool always_fork = false;
};

class Company {
 public:
  Company(const std::string& path, KvFormat kv, Isa isa, const Spread& spread, uint64_t seed,
          float outlier_threshold = 0)
      : spread_(spread), random_(seed, Purpose::test) {
    for (uint32_t threads : {1u, 2u}) {
      ModelOptions load{threads, isa, {}, false};
      if (outlier_threshold > 0) load.disable = {"quantize_outputs"};
      auto model = Model::load(path, load);
      VIBEE_CHECK(model.ok(), "{}", model.status().message());
      models_.push_back(std::move(*model));
      SessionOptions options{spread.context, spread.requests + 40, spread.max_rows, spread.max_rows, kv};
      options.outlier_threshold = outlier_threshold;
      auto session = Session::create(*models_.back(), options);
      VIBEE_CHECK(session.ok(), "{}", session.status().message());
      sessions_.push_back(std::move(*session));
    }
    vocab_ = models_[0]->config().vocab;
    make_requests();
  }

  /// Every request alone: one thread, as few steps as max_rows allows. Both sessions keep a state of it to fork from;
  /// the second session's comes from chunks of random sizes.
  void run_alone() {
    for (Request& r : requests_) {
      for (uint32_t s = 0; s < 2; ++s) {
        r.trunk.push_back(sessions_[s]->new_sequence());
        for (uint32_t at = 0; at < r.tokens.size();) {
          const uint32_t left = uint32_t(r.tokens.size()) - at, most = std::min(left, spread_.max_rows);
          const uint32_t n = s == 0 ? most : 1 + random_.below(most);
          const StepRows rows{&r.trunk[s], std::span(r.tokens).subspan(at, n), n};
          auto logits = sessions_[s]->step({&rows, 1});
          ASSERT_TRUE(logits.ok()) << logits.status().message();
          if (s == 0) r.logits.insert(r.logits.end(), logits->begin(), logits->end());
          if (s == 1) compare(r, at, n, *logits);
          at += n;
        }
      }
    }
  }

  /// All requests once, in random company.
  void interleave() {
    const uint32_t s = random_.below(4) == 0, batch = 1 + random_.below(16);
    Session& session = *sessions_[s];
    std::vector<Request*> waiting;
    for (Request& r : requests_) waiting.push_back(&r);
    for (size_t i = waiting.size(); i > 1; --i) std::swap(waiting[i - 1], waiting[random_.below(uint32_t(i))]);
    const uint32_t chunking = random_.below(3);
    std::list<Running> running;
    std::list<Running> strangers;  // forks that go another way
    std::vector<StepRows> rows;
    std::vector<std::pair<Running*, uint32_t>> owner;
    while (!waiting.empty() || !running.empty()) {
      while (!waiting.empty() && running.size() < batch) {
        Request& r = *waiting.back();
        waiting.pop_back();
        SequenceState state = begin(session, s, r);
        if (random_.below(2))
          running.push_back({&r, std::move(state)});
        else
          running.push_front({&r, std::move(state)});
      }
      strangers.clear();
      for (Running& one : running) {
        if (random_.below(16) != 0) continue;
        SequenceState child = one.state.fork();
        std::swap(child, one.state);
        strangers.push_back({nullptr, std::move(child)});
      }
      rows.clear();
      owner.clear();
      const int32_t odd_token = int32_t(random_.below(vocab_));
      uint32_t left = spread_.max_rows;
      for (Running& one : strangers)
        if (one.state.length() < spread_.context && left > running.size())
          rows.push_back({&one.state, {&odd_token, 1}, 0}), owner.push_back({nullptr, 0}), --left;
      for (Running& one : running) {
        const auto rest = uint32_t(one.request->tokens.size()) - one.state.length();
        if (left == 0) break;
        const uint32_t want = chunking == 0 ? 1 : chunking == 1 ? rest : 1 + random_.below(7);
        const uint32_t n = std::min({rest, want, left});
        rows.push_back({&one.state, std::span(one.request->tokens).subspan(one.state.length(), n), n});
        owner.push_back({&one, one.state.length()});
        left -= n;
      }
      auto logits = session.step(rows);
      ASSERT_TRUE(logits.ok()) << logits.status().message();
      size_t at = 0;
      for (size_t i = 0; i < rows.size(); ++i) {
        const size_t n = rows[i].logits * size_t(vocab_);
        if (owner[i].first) compare(*owner[i].first->request, owner[i].second, rows[i].logits, logits->subspan(at, n));
        at += n;
      }
      running.remove_if([](const Running& one) { return one.state.length() == one.request->tokens.size(); });
    }
    ++interleavings_;
  }

  uint64_t positions() const { return positions_; }
  uint64_t differing() const { return differing_; }
  uint32_t interleavings() const { return interleavings_; }
  Session& session(uint32_t which) { return *sessions_[which]; }

 private:
  struct Request {
    std::vector<int32_t> tokens;
    uint32_t shared = 0;  ///< tokens in common with `sibling`
    uint32_t sibling = 0;
    std::vector<float> logits;  ///< of every position, run alone
    std::vector<SequenceState> trunk;
  };
  struct Running {
    Request* request;
    SequenceState state;
  };

  void make_requests() {
    for (uint32_t i = 0; i < spread_.requests; ++i) {
      Request r;
      r.tokens.resize(spread_.shortest + random_.below(spread_.longest - spread_.shortest + 1) +
                      (i % 10 == 4 ? spread_.tail : 0));
      for (int32_t& t : r.tokens) t = int32_t(random_.below(vocab_));
      r.sibling = i;
      r.shared = uint32_t(r.tokens.size());
      if (i >= spread_.requests / 2) {
        r.sibling = i - spread_.requests / 2;
        const auto& other = requests_[r.sibling].tokens;
        r.shared = uint32_t(std::min(other.size(), r.tokens.size()) / 2);
        std::copy_n(other.begin(), r.shared, r.tokens.begin());
      }
      requests_.push_back(std::move(r));
    }
  }
  /// A fresh state or the fork of a finished one, of this request or of one that begins alike.
  SequenceState begin(Session& session, uint32_t s, const Request& r) {
    if (!spread_.always_fork && random_.below(2) == 0) return session.new_sequence();
    const bool own = random_.below(2) == 0;
    const Request& from = own ? r : requests_[r.sibling];
    const auto most = std::min(own ? uint32_t(r.tokens.size()) : r.shared, uint32_t(r.tokens.size()) - 1);
    SequenceState state = from.trunk[s].fork();
    state.truncate(most <= spread_.fork_from ? most : spread_.fork_from + random_.below(most - spread_.fork_from + 1));
    return state;
  }
  void compare(const Request& r, uint32_t first, uint32_t n, std::span<const float> logits) {
    positions_ += n;
    for (uint32_t i = 0; i < n; ++i)
      differing_ += std::memcmp(logits.data() + size_t(i) * vocab_, r.logits.data() + size_t(first + i) * vocab_,
                                vocab_ * 4) != 0;
  }

  Spread spread_;
  RandomStream random_;
  std::vector<std::unique_ptr<Model>> models_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<Request> requests_;
  uint32_t vocab_ = 0, interleavings_ = 0;
  uint64_t positions_ = 0, differing_ = 0;
};

struct Family {
  const char* name;
  const char* architecture;
  Format format;
  KvFormat kv;
  uint32_t heads, kv_heads, head_dim, interleavings;
  Isa isa;
};
constexpr Family kFamilies[] = {
    {"llama_f32_kv_f16", "llama", Format::f32, KvFormat::f16, 3, 1, 16, 2000, Isa::avx512},
    {"llama_f32_kv_f32", "llama", Format::f32, KvFormat::f32, 4, 2, 8, 1000, Isa::avx2},
    {"llama_q8_0_kv_f16", "llama", Format::q8_0, KvFormat::f16, 2, 1, 16, 1500, Isa::avx512},
    {"llama_q4_1_kv_q8_0", "llama", Format::q4_1, KvFormat::q8_0, 3, 3, 32, 2000, Isa::avx512},
    {"llama_q8_0_kv_int4", "llama", Format::q8_0, KvFormat::int4, 2, 1, 32, 500, Isa::avx512},
    {"llama_q5_0_kv_f16", "llama", Format::q5_0, KvFormat::f16, 2, 2, 16, 1000, Isa::avx2},
    {"gemma3_q8_0_kv_f16", "gemma3", Format::q8_0, KvFormat::f16, 2, 1, 32, 1000, Isa::avx512},
    {"gemma3_f32_kv_q8_0", "gemma3", Format::f32, KvFormat::q8_0, 1, 1, 32, 800, Isa::avx512},
    {"llama_q4_1_scalar", "llama", Format::q4_1, KvFormat::f32, 2, 1, 32, 200, Isa::scalar},
};

class Invariance : public testing::TestWithParam<Family> {};

TEST_P(Invariance, LogitsDoNotDependOnTheCompany) {
  const Family& f = GetParam();
  TinyModel m{f.architecture, f.format};
  m.heads = f.heads;
  m.kv_heads = f.kv_heads;
  m.head_dim = f.head_dim;
  m.window = 5;
  if (m.architecture == "gemma3") m.layers = 3;
  const TinyModelFile file(m);
  Company company(file.path(), f.kv, std::min(f.isa, detected_isa()), {}, 7);
  ASSERT_NO_FATAL_FAILURE(company.run_alone());
  for (uint32_t i = 0; i < repetitions(f.interleavings); ++i) ASSERT_NO_FATAL_FAILURE(company.interleave());
  EXPECT_EQ(company.differing(), 0u) << "of " << company.positions() << " positions";
  EXPECT_GT(company.positions(), company.interleavings() * 40u);
  RecordProperty("positions", std::to_string(company.positions()));
}

INSTANTIATE_TEST_SUITE_P(Tiny, Invariance, testing::ValuesIn(kFamilies),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(InvarianceCount, IsTenThousand) {
  uint32_t sum = 0;
  for (const Family& f : kFamilies) sum += f.interleavings;
  EXPECT_EQ(sum, 10000u);
}

/// Outliers are a row's own: with the paper's, which a column of the batch has, these bytes would differ.
TEST(InvarianceOfOutliers, LogitsDoNotDependOnTheCompany) {
  for (const Format format : {Format::q8_0, Format::q4_1}) {
    SCOPED_TRACE(info(format).name);
    TinyModel m{"llama", format};
    const TinyModelFile file(m);
    Company company(file.path(), KvFormat::f16, detected_isa(), {}, 17, 1.0f);  // of a norm's rows a third are larger
    ASSERT_NO_FATAL_FAILURE(company.run_alone());
    for (uint32_t i = 0; i < repetitions(120); ++i) ASSERT_NO_FATAL_FAILURE(company.interleave());
    EXPECT_EQ(company.differing(), 0u) << "of " << company.positions() << " positions";
  }
}

/// Contexts beyond one split of 256 keys: two threads share the splits of a row, and Gemma's windows begin inside a
/// split.
TEST(InvarianceLong, ContextsShareSplits) {
  for (const char* architecture : {"llama", "gemma3"})
    for (Format format : {Format::f32, Format::q8_0}) {
      SCOPED_TRACE(fmt::format("{} {}", architecture, info(format).name));
      TinyModel m{architecture, format};
      m.kv_heads = 2;
      m.heads = 4;
      m.window = 300;
      m.layers = m.architecture == "gemma3" ? 6 : 2;  // the sixth is global
      const TinyModelFile file(m);
      Spread spread;
      spread.requests = 4;
      spread.shortest = 500;
      spread.longest = 800;
      spread.context = 1024;
      spread.max_rows = 128;
      spread.fork_from = 240;
      spread.always_fork = true;
      Company company(file.path(), KvFormat::f16, detected_isa(), spread, 11);
      EXPECT_GT(company.session(1).plan().work_list(0).part_slots(), 0u);
      ASSERT_NO_FATAL_FAILURE(company.run_alone());
      for (uint32_t i = 0; i < repetitions(12); ++i) ASSERT_NO_FATAL_FAILURE(company.interleave());
      EXPECT_EQ(company.differing(), 0u) << "of " << company.positions() << " positions";
    }
}

// 200 interleavings on the real model, named by the environment because it is too large to commit.
TEST(InvarianceReal, Smollm2) {
  const char* path = std::getenv("VIBEE_TEST_SMOLLM2");
  if (!path) GTEST_SKIP() << "set VIBEE_TEST_SMOLLM2 to the path of the file";
  Spread spread;
  spread.longest = 8;
  spread.tail = 0;
  Company company(path, KvFormat::f16, detected_isa(), spread, 13);
  ASSERT_NO_FATAL_FAILURE(company.run_alone());
  for (uint32_t i = 0; i < 200; ++i) ASSERT_NO_FATAL_FAILURE(company.interleave());
  EXPECT_EQ(company.differing(), 0u);
  fmt::print("{} interleavings of 20 requests, {} positions compared, {} differ\n", company.interleavings(),
             company.positions(), company.differing());
}

}  // namespace
}  // namespace vibee
