// SPDX-License-Identifier: Apache-2.0
// vibee train's job: a tiny model learns a tiny store, a run that was stopped goes on with the same bytes, and what a
// configuration may not say.
#include "vibee/app/jobs/train.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/app/jobs/train_history.h"
#include "vibee/dist/transport/local.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/data/token_store.h"

namespace vibee {
namespace {

/// A store of a repeated tune, and a model whose tokenizer it is of.
class Training : public testing::Test {
 protected:
  Training() {
    TinyModel tiny;
    tiny.vocab = 300;
    tiny.tokenizer = true;
    model_ = std::make_unique<TinyModelFile>(tiny);
    auto tokenizer = open_tokenizer(model_->path());
    VIBEE_CHECK(tokenizer.ok(), "{}", tokenizer.status().message());
    auto writer =
        TokenStoreWriter::create(path("tune.tokens"), uint32_t((*tokenizer)->size()), vocabulary_hash(**tokenizer));
    VIBEE_CHECK(writer.ok(), "{}", writer.status().message());
    for (int d = 0; d < 60; ++d) {
      TokenDocument document;
      for (int i = 0; i < 20 + d % 7; ++i) document.ids.push_back(10 + (d + 3 * i) % 8);
      VIBEE_CHECK(writer->add(document).ok());
    }
    VIBEE_CHECK(writer->finish().ok());
  }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string text(const std::string& out) const {
    return fmt::format(R"(out = "{}"
[model]
tokenizer = "{}"
dim = 16
layers = 1
heads = 2
context = 32
[data]
stores = "{}"
held_out = ["{}"]
length = 16
[train]
steps = 12
batch = 4
part = 2
threads = 2
[optimiser]
rate = 0.01
warmup = 2
[eval]
every = 4
rows = 4
[save]
every = 3
keep = 2
)",
                       path(out), model_->path(), path("tune.tokens"), path("tune.tokens"));
  }
  TrainConfig config(const std::string& out, const std::vector<std::string>& set = {}) const {
    auto parsed = parse_train_config(text(out), "train.toml", set);
    VIBEE_CHECK(parsed.ok(), "{}", parsed.status().message());
    return *parsed;
  }
  std::string contents(const std::string& name) const {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string refusal(const std::vector<std::string>& set) const {
    const Status status = parse_train_config(text("x"), "train.toml", set).take_status();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    return status.message();
  }

  TempFolder folder_;
  std::unique_ptr<TinyModelFile> model_;
};

TEST_F(Training, LearnsWhatIsThere) {
  for (const char* architecture : {"llama", "gpt2"}) {
    double first = 0, last = 0;
    std::vector<double> held_out;
    TrainEvents events;
    events.step = [&](const TrainProgress& p) {
      (p.step == 1 ? first : last) = p.loss;
      return true;
    };
    events.evaluated = [&](const TrainEvaluation& e) { held_out.push_back(e.loss); };
    const auto report = train(
        config(architecture, {"train.steps=60", "eval.every=30", std::string("model.architecture=") + architecture}),
        false, events);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_NEAR(first, std::log(300), 0.5);
    EXPECT_LT(last, first / 2) << architecture;
    ASSERT_EQ(held_out.size(), 2u);
    EXPECT_LT(held_out[1], held_out[0]);
    EXPECT_EQ(report->best, held_out[1]);
    auto written = open_checkpoint(report->model);
    ASSERT_TRUE(written.ok()) << written.status().message();
    EXPECT_TRUE(read_config(*written).ok());
    EXPECT_TRUE(open_tokenizer(report->model).ok());
  }
}

TEST_F(Training, ShowsWhatItDid) {
  std::vector<TrainSample> samples;
  TrainEvents events;
  events.sampled = [&](const TrainSample& s) { samples.push_back(s); };
  std::vector<std::string> said;
  events.said = [&](const std::string& text) { said.push_back(text); };
  const std::vector<std::string> set = {"sample.every=8", "sample.prompts=['', 'a<b']", "sample.tokens=4"};
  const auto report = train(config("shown", set), false, events);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(said.empty()) << said[0];
  ASSERT_EQ(samples.size(), 4u);  // two at step 8, two at the end
  EXPECT_EQ(samples[1].step, 8u);
  EXPECT_EQ(samples[1].prompt, "a<b");
  EXPECT_FALSE(std::filesystem::exists(path("shown/checkpoints/sampled.gguf")));
  auto history = read_history(path("shown/metrics.jsonl"));
  ASSERT_TRUE(history.ok()) << history.status().message();
  ASSERT_EQ(history->steps.size(), 12u);
  EXPECT_EQ(history->steps[11].loss, report->loss);
  EXPECT_EQ(history->held_out.size(), 3u);
  ASSERT_EQ(history->samples.size(), 4u);
  EXPECT_EQ(history->samples[3].text, samples[3].text);
  const std::string page = contents("shown/report.html");
  EXPECT_NE(page.find("loss a token, by step"), std::string::npos);
  EXPECT_NE(page.find("behind step 12"), std::string::npos);
  EXPECT_NE(page.find("<b>a&lt;b</b>"), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  // What samples cannot be had of does not end a run, and one that was finished has nothing left to do.
  const auto again = train(config("shown", {"sample.every=1", "sample.chat=true", "train.steps=13"}), true, events);
  ASSERT_TRUE(again.ok()) << again.status().message();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("no chat template"), std::string::npos) << said[0];
  const auto nothing = train(config("shown", {"train.steps=13"}), true, events);
  ASSERT_TRUE(nothing.ok());
  EXPECT_EQ(nothing->steps, nothing->resumed);
  EXPECT_TRUE(std::isnan(nothing->loss));
}

/// A run that went on from a checkpoint wrote some steps twice; the later ones count.
TEST_F(Training, HistoryIsOfTheRunThatCounts) {
  const auto read = [&](const std::string& text) {
    std::ofstream(path("m.jsonl")) << text;
    return read_history(path("m.jsonl"));
  };
  const auto step = [](int n, double loss) { return fmt::format("{{\"step\": {}, \"loss\": {}}}\n", n, loss); };
  const auto h = read(step(1, 5) + step(2, 4) + "{\"step\": 2, \"held_out_loss\": 4.5}\n" +
                      "{\"step\": 3, \"skipped\": \"x\"}\n" + step(3, 3) + step(2, 4.25) +
                      "{\"step\": 2, \"held_out_loss\": 4.75}\n" + step(3, 3.5) + "{\"step\": 4, \"lo");
  ASSERT_TRUE(h.ok()) << h.status().message();
  ASSERT_EQ(h->steps.size(), 3u);
  EXPECT_EQ(h->steps[1].loss, 4.25);
  EXPECT_EQ(h->steps[2].loss, 3.5);
  ASSERT_EQ(h->held_out.size(), 1u);
  EXPECT_EQ(h->held_out[0].loss, 4.75);
  EXPECT_NE(read(step(1, 5) + "nothing\n" + step(2, 5)).status().message().find("line 2"), std::string::npos);
  EXPECT_FALSE(read_history(path("none.jsonl")).ok());
}

/// A weight that overflows: the message says where.
TEST_F(Training, SaysWhereANumberIsNotFinite) {
  ASSERT_TRUE(train(config("first"), false, {}).ok());
  auto file = open_checkpoint(path("first/model.gguf"));
  ASSERT_TRUE(file.ok());
  std::fstream bytes(path("first/model.gguf"), std::ios::in | std::ios::out | std::ios::binary);
  const auto plant = [&](const char* tensor, float value) {
    bytes.seekp(std::streamoff(file->find(tensor)->offset + 4 * 7));
    bytes.write(reinterpret_cast<const char*>(&value), 4);
    bytes.flush();
    static int n = 0;
    return train(config(fmt::format("planted{}", n++),
                        {"model.tokenizer=", "model.from=" + path("first/model.gguf"), "eval.every=0"}),
                 false, {})
        .status()
        .message();
  };
  EXPECT_NE(refusal({"train.bad_step=go"}).find("stop and skip are built"), std::string::npos);
  EXPECT_NE(refusal({"train.spike=1"}).find("is no spike"), std::string::npos);
  const std::string overflow = plant("blk.0.ffn_norm.weight", 3e38f);
  EXPECT_NE(overflow.find("step 1: the loss"), std::string::npos) << overflow;
  EXPECT_NE(overflow.find("blk.0.ffn_norm.weight, rms_norm of the forward pass: row "), std::string::npos) << overflow;
  EXPECT_NE(overflow.find("no weight was changed"), std::string::npos) << overflow;
  const std::string weight = plant("blk.0.ffn_up.weight", NAN);
  EXPECT_NE(weight.find("weight 'blk.0.ffn_up.weight', element 7: nan"), std::string::npos) << weight;
}

/// In other numbers and by another rule: it learns, an overflow is skipped, and a run that goes on has the same bytes.
TEST_F(Training, LearnsInOtherNumbers) {
  const std::vector<std::vector<std::string>> ways = {
      {"precision.compute=bf16", "precision.master=split", "precision.gradients=bf16", "precision.gradient_sums=kahan"},
      {"precision.compute=bf16", "precision.master=none", "precision.bf16_update=sr"},
      {"precision.compute=f16", "precision.loss_scale_window=4"},
      {"optimiser.rule=sgd", "optimiser.rate=0.5", "optimiser.nesterov=true"},
      {"train.act_compress=int4", "train.recompute=cheap", "train.part=2"},
      {"train.act_compress=auto=3"},
      {"optimiser.rule=lion", "optimiser.rate=0.003", "optimiser.beta2=0.99", "model.dim=64", "optimiser.moments=8bit"},
      {"optimiser.moments=8bit", "optimiser.block=64", "model.dim=64", "optimiser.paged=200000"},
      {"precision.products=int8-switchback", "precision.compute=bf16", "train.part=2"},
      {"precision.products=fp8-hybrid", "precision.products_history=3", "train.part=2"},
      {"precision.products=mxfp8", "precision.products_skip=[\"blk.0.\"]"},
      {"precision.qat=int4", "precision.compute=bf16", "train.part=2"}};
  int k = 0;
  for (std::vector<std::string> way : ways) {
    double first = 0, last = 0;
    TrainEvents events;
    events.step = [&](const TrainProgress& p) {
      (p.step == 1 ? first : last) = p.loss;
      return true;
    };
    way.push_back("train.steps=40");
    const std::string out = fmt::format("way{}", k++), again = out + "-again";
    const Status done = train(config(out, way), false, events).take_status();
    ASSERT_TRUE(done.ok()) << done.message();
    EXPECT_LT(last, 0.8 * first) << way[0];
    events.step = [&](const TrainProgress& p) { return p.step < 20; };
    ASSERT_TRUE(train(config(again, way), false, events).ok());
    ASSERT_TRUE(train(config(again, way), true, {}).ok());
    EXPECT_EQ(contents(out + "/model.gguf"), contents(again + "/model.gguf")) << way[0];
  }
}

/// Steps that are held bad are passed over, and a run that goes on passes over the same ones.
TEST_F(Training, LeavesBadStepsOutAsTold) {
  const std::vector<std::string> set = {"train.steps=60", "train.bad_step=skip", "train.spike=1.01",   "eval.every=0",
                                        "train.batch=1",  "save.every=0",        "optimiser.rate=0.05"};
  std::vector<std::string> said;
  TrainEvents events;
  events.said = [&](const std::string& text) { said.push_back(text); };
  const auto whole = train(config("whole", set), false, events);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_EQ(whole->steps, 60u);
  ASSERT_FALSE(said.empty());
  EXPECT_NE(said[0].find("times its mean of late"), std::string::npos) << said[0];
  const auto history = read_history(path("whole/metrics.jsonl"));
  ASSERT_TRUE(history.ok()) << history.status().message();
  EXPECT_EQ(history->steps.size(), 60u);
  EXPECT_EQ(history->skipped.size(), said.size());
  events.step = [](const TrainProgress& p) { return p.step != 33; };
  ASSERT_TRUE(train(config("part", set), false, events).ok());
  const auto rest = train(config("part", set), true, {});
  ASSERT_TRUE(rest.ok()) << rest.status().message();
  EXPECT_TRUE(contents("whole/model.gguf") == contents("part/model.gguf"));
  std::vector<std::string> stops = set;
  stops[1] = "train.bad_step=stop";
  const Status stopped = train(config("stopped", stops), false, {}).take_status();
  EXPECT_NE(stopped.message().find("no weight was changed"), std::string::npos) << stopped.message();
}

TEST_F(Training, GoesOnAsIfItHadNeverStopped) {
  const auto whole = train(config("whole"), false, {});
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  TrainEvents stop;
  stop.step = [](const TrainProgress& p) { return p.step != 5; };
  const auto part = train(config("part"), false, stop);
  ASSERT_TRUE(part.ok() && part->stopped);
  EXPECT_EQ(part->steps, 5u);
  EXPECT_FALSE(std::filesystem::exists(path("part/model.gguf")));
  // Other threads, the same bytes.
  const auto rest = train(config("part", {"train.threads=1"}), true, {});
  ASSERT_TRUE(rest.ok()) << rest.status().message();
  EXPECT_EQ(rest->resumed, 5u);
  EXPECT_EQ(rest->best, whole->best);
  for (const char* name : {"model.gguf", "checkpoints/12.run", "checkpoints/best.run"}) {
    const std::string want = contents(std::string("whole/") + name);
    ASSERT_FALSE(want.empty()) << name;
    EXPECT_TRUE(want == contents(std::string("part/") + name)) << name;
  }
  EXPECT_TRUE(std::filesystem::exists(path("whole/checkpoints/9.run")));
  EXPECT_FALSE(std::filesystem::exists(path("whole/checkpoints/6.run")));
}

/// Four shares on 1, 2 and 4 ranks that are threads, and a run that is stopped on 3 and goes on on 2.
TEST_F(Training, RanksHaveTheBytesOfOne) {
  const std::vector<std::string> four = {"parallel.shares=4", "train.threads=1"};
  const auto one = train(config("one", four), false, {});
  ASSERT_TRUE(one.ok()) << one.status().message();
  const auto same = [&](const std::string& name) {
    for (const char* file : {"/model.gguf", "/checkpoints/12.run", "/checkpoints/best.run"}) {
      const std::string want = contents(std::string("one") + file);
      EXPECT_TRUE(!want.empty() && want == contents(name + file)) << name << file;
    }
  };
  for (const uint32_t ranks : {1, 2, 4}) {
    const std::string name = "ranks" + std::to_string(ranks);
    uint32_t traces = 0;
    TrainEvents events;
    events.traced = [&](const TrainTrace& trace) { traces += !trace.compute.empty() && !trace.communicate.empty(); };
    const auto report = train_emulated(config(name, four), false, events, ranks);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(traces, 1u);
    same(name);
  }
  TrainEvents stop;
  stop.step = [](const TrainProgress& p) { return p.step != 5; };
  const auto part = train_emulated(config("part", four), false, stop, 3);
  ASSERT_TRUE(part.ok() && part->stopped) << part.status().message();
  EXPECT_EQ(part->steps, 5u);
  const auto rest = train_emulated(config("part", four), true, {}, 2);
  ASSERT_TRUE(rest.ok()) << rest.status().message();
  same("part");
}

TEST_F(Training, RanksThatCannotBeAreRefused) {
  const auto refused = [&](const std::vector<std::string>& set, uint32_t ranks) {
    return train_emulated(config("refused", set), false, {}, ranks).status().message();
  };
  EXPECT_NE(refused({}, 5).find("5 ranks, 5 shares of a step of 4 rows"), std::string::npos);
  EXPECT_NE(refused({"parallel.shares=2"}, 3).find("3 ranks, 2 shares"), std::string::npos);
  EXPECT_NE(refused({"parallel.mesh=dp=2"}, 3).find("asks for other ranks than the 3"), std::string::npos);
  EXPECT_NE(refused({"data.stores=" + path("none.tokens")}, 2).find("none.tokens"), std::string::npos);
  EXPECT_NE(refusal({"parallel.mesh=tp=2"}).find("dp=N is built"), std::string::npos);
  EXPECT_NE(refusal({"parallel.shares=5"}).find("5 of 4 rows"), std::string::npos);
  // One rank of two is not started like the other.
  auto ends = local_network(2);
  std::string said[2];
  std::vector<std::thread> threads;
  threads.reserve(2);
  for (int r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      CommThread comm(std::move(ends[size_t(r)]));
      const TrainConfig mine = config("unlike", {"train.steps=" + std::to_string(10 + r)});
      said[r] = train(mine, false, {}, &comm).status().message();
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : said)
    EXPECT_NE(text.find("ranks differ in the configuration"), std::string::npos) << text;
}

TEST_F(Training, GoesOnFromAModel) {
  ASSERT_TRUE(train(config("first"), false, {}).ok());
  const auto second = train(
      config("second", {"model.tokenizer=", "model.from=" + path("first/model.gguf"), "train.steps=2"}), false, {});
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_TRUE(open_checkpoint(second->model).ok());
}

TEST_F(Training, LearnsAnAdapterAndMergesIt) {
  double base_loss = 0;
  TrainEvents of_base;
  of_base.evaluated = [&](const TrainEvaluation& e) { base_loss = e.loss; };
  ASSERT_TRUE(train(config("base"), false, of_base).ok());
  const auto lora = [&](const std::string& out, std::vector<std::string> more = {}) {
    std::vector<std::string> set = {"model.tokenizer=", "model.from=" + path("base/model.gguf"), "lora.rank=2",
                                    "lora.merge=true"};
    set.insert(set.end(), more.begin(), more.end());
    return config(out, set);
  };
  std::vector<double> held_out;
  TrainEvents events;
  events.evaluated = [&](const TrainEvaluation& e) { held_out.push_back(e.loss); };
  const auto whole = train(lora("whole"), false, events);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  ASSERT_EQ(held_out.size(), 4u);  // that of the model is the first
  EXPECT_EQ(held_out[0], base_loss);
  EXPECT_LT(held_out[3], held_out[0]);
  EXPECT_EQ(whole->adapter, path("whole/adapter.gguf"));
  EXPECT_EQ(whole->model, path("whole/model.gguf"));
  // The run holds the adapter alone, and goes on with its bytes.
  TrainEvents stop;
  stop.step = [](const TrainProgress& p) { return p.step != 5; };
  ASSERT_TRUE(train(lora("part"), false, stop).ok());
  const auto rest = train(lora("part", {"train.threads=1"}), true, {});
  ASSERT_TRUE(rest.ok()) << rest.status().message();
  for (const char* name : {"adapter.gguf", "model.gguf", "checkpoints/12.run"})
    EXPECT_TRUE(contents(std::string("whole/") + name) == contents(std::string("part/") + name)) << name;
  EXPECT_LT(std::filesystem::file_size(path("whole/checkpoints/12.run")),
            std::filesystem::file_size(path("base/checkpoints/12.run")) / 2);
  // The merged model's loss is that of the adapter's last evaluation.
  std::vector<double> merged;
  events.evaluated = [&](const TrainEvaluation& e) { merged.push_back(e.loss); };
  ASSERT_TRUE(train(config("again", {"model.tokenizer=", "model.from=" + whole->model, "train.steps=1",
                                     "optimiser.rate=0", "optimiser.warmup=0"}),
                    false, events)
                  .ok());
  EXPECT_NEAR(merged[0], held_out[3], 1e-5);
  // Another adapter does not go on from it.
  EXPECT_NE(train(lora("part", {"lora.targets=attn_q"}), true, {}).status().message().find("of other weights"),
            std::string::npos);
}

TEST_F(Training, RefusesARunThatDoesNotFitTheFolder) {
  EXPECT_NE(train(config("run"), true, {}).status().message().find("no checkpoint to go on from"), std::string::npos);
  ASSERT_TRUE(train(config("run"), false, {}).ok());
  EXPECT_NE(train(config("run"), false, {}).status().message().find("a run is there already, at step 12"),
            std::string::npos);
  EXPECT_NE(train(config("run", {"model.layers=2"}), true, {}).status().message().find("a model of other weights"),
            std::string::npos);
  EXPECT_NE(train(config("run", {"optimiser.moments=8bit"}), true, {}).status().message().find("first moments"),
            std::string::npos);
  EXPECT_NE(train(config("paged", {"optimiser.paged=1000"}), false, {}).status().message().find("alone take"),
            std::string::npos);
  EXPECT_NE(train(config("run", {"train.seed=9"}), true, {}).status().message().find("the order of samples"),
            std::string::npos);
}

TEST_F(Training, SaysWhatFitsWhereMemoryIsShort) {
  const auto refused = [&](const std::string& memory, const std::string& recompute) {
    return train(config("short",
                        {"train.memory=" + memory, "train.part=4", "train.steps=2", "train.recompute=" + recompute}),
                 false, {})
        .status()
        .message();
  };
  // Between what one row and what four take.
  uint64_t low = 1, high = 1 << 24;
  while (high - low > 4096) {
    const uint64_t middle = (low + high) / 2;
    (refused(std::to_string(middle), "none").empty() ? high : low) = middle;
    std::filesystem::remove_all(path("short"));
  }
  const std::string text = refused(std::to_string(low), "none");
  EXPECT_NE(text.find("what fits: train.part = 3 with train.recompute = \"none\", or train.part = "), std::string::npos)
      << text;
  EXPECT_NE(refused("1000", "auto").find("what fits: a smaller model alone"), std::string::npos);
}

TEST_F(Training, SaysWhatAConfigurationMayNotSay) {
  const auto has = [](const std::string& text, std::string_view part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(refusal({"train.step=3"}), "key \"train.step\" does not exist; the nearest is 'train.steps'");
  has(refusal({"train.steps=0"}), "a whole number from 1 to");
  has(refusal({"train.steps=1.5"}), "a whole number");
  has(refusal({"train.steps=many"}), "a whole number");
  has(refusal({"train.steps"}), "KEY=VALUE");
  has(refusal({"optimiser.rate=nan"}), "a number from 0 to 100");
  has(refusal({"optimiser.rule=adam"}), "adamw, sgd, lion are built");
  has(refusal({"optimiser.moments=4bit"}), "key 'optimiser.moments': \"4bit\"; f32, 8bit are built");
  has(refusal({"optimiser.block=96"}), "key 'optimiser.block': 96; a power of two from 64 to 2048");
  has(refusal({"optimiser.block=32"}), "a whole number from 64 to 2048");
  has(refusal({"optimiser.paged=-1"}), "a whole number from 0");
  has(refusal({"optimiser.nesterov=true", "optimiser.momentum=0"}), "needs a momentum");
  has(refusal({"precision.compute=fp8"}), "f32, bf16, f16 are built");
  has(refusal({"precision.master=split"}), "weights are f32 here");
  has(refusal({"precision.compute=f16", "precision.master=split"}), "fp16 is not the upper half of fp32");
  has(refusal({"precision.products=int4"}), "key 'precision.products': \"int4\"; f32, bf16, int8-switchback");
  has(refusal({"precision.products=int8-rows", "precision.compute=f16", "precision.master=none"}),
      "int8-rows rounds weights of which there is a master");
  has(refusal({"precision.products=fp8-hybrid", "precision.products_scaling=block"}), "delayed, current are built");
  has(refusal({"precision.products=fp8-hybrid", "precision.products_history=0"}), "a whole number from 1");
  has(refusal({"precision.qat=int5"}), "key 'precision.qat': ");
  has(refusal({"precision.qat=f32"}), "weights are not stored in f32");
  has(refusal({"precision.qat=q4_0", "precision.products=mxfp8"}), "give one of both");
  has(refusal({"precision.bf16_update=kahan"}), "kahan compensates bf16 weights; weights are fp32 here");
  has(refusal({"precision.gradient_sums=sr"}), "key 'precision.gradient_sums'");
  has(refusal({"precision.loss_scale=-3"}), "none, dynamic or a number");
  has(refusal({"precision.loss_scale=true"}), "a text in quotes or a number");
  EXPECT_EQ(config("x", {"precision.compute=f16"}).precision.loss_scale.kind, LossScaling::Kind::dynamic);
  EXPECT_EQ(config("x", {"precision.compute=f16", "precision.loss_scale=none"}).precision.loss_scale.kind,
            LossScaling::Kind::none);
  EXPECT_EQ(config("x", {"precision.loss_scale=1024"}).precision.loss_scale.scale, 1024);
  has(refusal({"optimiser.schedule=cosin"}), "constant, linear, cosine and wsd");
  has(refusal({"train.act_compress=int3"}), "none, int8, int4, int2, int1, auto=B are built");
  has(refusal({"train.act_compress=auto=9"}), "1 to 8 bits");
  has(refusal({"train.act_compress=auto=3x"}), "1 to 8 bits");
  has(refusal({"train.recompute=all"}), "none, cheap, proj, full, sqrt, budget=BYTES and auto");
  has(refusal({"train.recompute=budget=many"}), "a budget is bytes");
  EXPECT_EQ(config("x", {"train.recompute=budget=1.5MiB"}).recompute_budget, 3u << 19);
  has(refusal({"precision.compute=fp8"}), "f32, bf16, f16");
  has(refusal({"optimiser.warmup=13"}), "13 steps of 12");
  has(refusal({"data.length=33"}), "33 tokens of a model for 32");
  has(refusal({"data.weights=[1,2]"}), "2 of 1 stores");
  has(refusal({"data.stores=[]"}), "a list of one or more");
  has(refusal({"model.from=x"}), "give one of both");
  has(refusal({"model.tied=1"}), "true or false");
  has(refusal({"lora.rank=4"}), "an adapter is of a model that is there; give model.from");
  has(refusal({"lora.merge=true"}), "key 'lora.rank': is missing");
  has(refusal({"lora.rank=1025"}), "a whole number from 0 to 1024");
  has(refusal({"lora.dropout=0.1"}), "key \"lora.dropout\" does not exist");
  const auto bad = [](const std::string& text) { return parse_train_config(text, "a.toml", {}).status().message(); };
  has(bad("out = \"x\"\nstores = 1\n"), "a.toml, line 2: key \"stores\" does not exist");
  has(bad("[train\n"), "a.toml, line 1");
  has(bad(""), "key 'out'");
  has(bad("[.a]"), "a.toml, line 1");
  has(bad("a = " + std::string(100000, '[')), "a.toml: more than 200 brackets");
}

}  // namespace
}  // namespace vibee
