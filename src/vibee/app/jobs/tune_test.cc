// SPDX-License-Identifier: Apache-2.0
// The search on made-up machines, whose truth is known.
#include "vibee/app/jobs/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "vibee/app/jobs/tuned_file.h"
#include "vibee/base/random/philox.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// Each setting multiplies the speed; two of them may work against one another.
struct Machine {
  std::map<std::string, double> speed, kl;
  double together = 1;  ///< factor when the first two of `speed` are both used
  double noise = 0.01;  ///< of a run
  double each_s = 0.1;  ///< seconds that a run takes
  RandomStream random{1, Purpose::test};
  double clock = 0;
  uint32_t runs = 0;

  TuneProbe probe() {
    TuneProbe p;
    p.time = [this](const std::vector<Setting>& settings) -> Result<BenchFigures> {
      double s = 1 + noise * double(random.normal());
      int known = 0;
      for (const Setting& set : settings) {
        const auto it = speed.find(set.text());
        if (it == speed.end()) continue;
        s *= it->second;
        ++known;
      }
      if (known >= 2) s *= together;
      clock += each_s;
      ++runs;
      return BenchFigures{1000 * s, 100 * s, -1, 0.01 / s, 1e8};
    };
    p.quality = [this](const std::vector<Setting>& settings) -> Result<TuneQuality> {
      TuneQuality q;
      for (const Setting& set : settings)
        if (kl.contains(set.text())) q.kl += kl[set.text()], q.kl_error = q.kl / 20, q.top1 = 0.99;
      return q;
    };
    p.seconds = [this] { return clock; };
    p.progress = [](std::string_view, double) { return true; };
    return p;
  }
};

std::vector<TuneOption> options() {
  return {{{"--disable", "a"}, "", true},
          {{"--threads", "1"}, "", true},
          {{"--threads", "2"}, "", true},
          {{"--kv", "q8_0"}, "", false},
          {{"--chunk", "64"}, "", true}};
}

TEST(Tune, FindsWhatPaysAndCombinesIt) {
  Machine m;
  m.speed = {{"--disable a", 1.2}, {"--threads 1", 1.1}, {"--threads 2", 1.3}, {"--chunk 64", 0.7}, {"--kv q8_0", 1.5}};
  m.kl = {{"--kv q8_0", 0.002}};
  const auto r = tune(options(), {}, m.probe());
  ASSERT_TRUE(r.ok());
  ASSERT_EQ(r->chosen.size(), 2u);  // the better thread count, and what was switched off; not what costs quality
  EXPECT_EQ(settings_text(r->chosen), "--threads 2 --disable a");
  EXPECT_NEAR(r->final->request.ratio, 1.56, 0.06);
  EXPECT_THAT(r->rows[3].verdict, HasSubstr("not exact"));
  EXPECT_EQ(r->rows[4].verdict, "slower");
  for (const TuneRow& row : r->rows) EXPECT_EQ(row.pairs, 21u);  // there is time for more than 7
  Machine hopeless = m;
  hopeless.clock = 0;
  hopeless.speed["--chunk 64"] = 0.1;
  EXPECT_EQ(tune(options(), {}, hopeless.probe())->rows[4].pairs, 3u);
  Machine again = m;
  again.clock = 0;
  TuneConfig lossy;
  lossy.lossy = 0.005;
  EXPECT_EQ(settings_text(tune(options(), lossy, again.probe())->chosen), "--kv q8_0 --threads 2 --disable a");
  again.clock = 0;
  lossy.lossy = 0.0021;  // within the bound, but not with its error
  EXPECT_EQ(settings_text(tune(options(), lossy, again.probe())->chosen), "--threads 2 --disable a");
}

TEST(Tune, SaysThatNonePays) {
  Machine m;
  m.speed = {{"--chunk 64", 0.9}};
  const auto r = tune(options(), {}, m.probe());
  EXPECT_TRUE(r->chosen.empty());
  EXPECT_FALSE(r->final);
  EXPECT_THAT(tune_text(*r), HasSubstr("none pays"));
}

TEST(Tune, RefusesACombinationOfWhatWorksAgainstOneAnother) {
  Machine m;
  m.speed = {{"--disable a", 1.2}, {"--chunk 64", 1.25}};
  m.together = 0.7;
  const auto r = tune(options(), {}, m.probe());
  EXPECT_EQ(settings_text(r->chosen), "--chunk 64");
}

TEST(Tune, ReportsABrokenPromiseAndKeepsItsTime) {
  Machine m;
  m.speed = {{"--disable a", 2}};
  m.kl = {{"--disable a", 1e-9}};
  const auto r = tune(options(), {}, m.probe());
  EXPECT_TRUE(r->chosen.empty());
  EXPECT_THAT(r->rows[0].verdict, HasSubstr("please report"));
  Machine slow;
  slow.each_s = 3;
  slow.speed = {{"--disable a", 1.5}};
  TuneConfig hasty;
  hasty.seconds = 120;
  const auto late = tune(options(), hasty, slow.probe());
  EXPECT_THAT(late->rows.back().verdict, HasSubstr("not measured"));
  EXPECT_LT(late->seconds, 150);
  TuneProbe interrupted = m.probe();
  interrupted.progress = [](std::string_view, double) { return false; };
  EXPECT_EQ(tune(options(), {}, interrupted).status().code(), Code::cancelled);
  TuneProbe broken = m.probe();
  broken.time = [](const std::vector<Setting>&) -> Result<BenchFigures> { return error(Code::io, "x"); };
  EXPECT_FALSE(tune(options(), {}, broken).ok());
}

TEST(Tune, ReportsAreWhole) {
  Machine m;
  m.speed = {{"--kv q8_0", 1.5}};
  m.kl = {{"--kv q8_0", 0.002}};
  TuneConfig c;
  c.lossy = 0.01;
  auto r = *tune(options(), c, m.probe());
  r.model = "m<1>.gguf";
  const auto json = parse_json(tune_json(r));
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->find("rows")->items.size(), 5u);
  EXPECT_EQ(json->find("chosen")->items[0].find("value")->text, "q8_0");
  EXPECT_THAT(tune_html(r), HasSubstr("m&lt;1&gt;.gguf"));
  EXPECT_THAT(tune_html(r), HasSubstr("<svg"));
}

TEST(TuneOptions, AreThoseThatThisModelAndMachineHave) {
  TinyModel shape;
  shape.format = Format::q8_0;
  shape.tokenizer = true;
  shape.vocab = 320;
  shape.heads = 1;
  shape.head_dim = 32;
  const TinyModelFile file(shape);
  LoadConfig base;
  base.model = file.path();
  base.threads = 1;
  const auto options = tune_options(base);
  ASSERT_TRUE(options.ok()) << options.status().message();
  std::set<std::string> names;
  for (const TuneOption& o : *options) {
    EXPECT_TRUE(names.insert(o.setting.text()).second) << o.setting.text();
    EXPECT_FALSE(o.summary.empty());
    LoadConfig with = base;
    ASSERT_TRUE(apply(o.setting, &with).ok());
    EXPECT_EQ(load(with).status().message(), "") << o.setting.text();  // every one of them can be used
  }
  for (const char* expected :
       {"--disable merge_qkv", "--disable merge_gated", "--disable flash_decoding", "--kv q8_0", "--chunk 64"})
    EXPECT_TRUE(names.contains(expected)) << expected;
  for (const char* used : {"--kv f16", "--threads 1", "--disable fold_constants"})
    EXPECT_FALSE(names.contains(used)) << used;
  shape.heads = 2;
  shape.head_dim = 16;
  const TinyModelFile narrow(shape);
  LoadConfig other = base;
  other.model = narrow.path();
  const auto fewer = tune_options(other);
  ASSERT_TRUE(fewer.ok()) << fewer.status().message();
  for (const TuneOption& o : *fewer) EXPECT_NE(o.setting.text(), "--kv q8_0");  // its heads are too narrow
  base.disable = {"merge_qkv", "flash_decoding"};
  const auto rest = tune_options(base);
  ASSERT_TRUE(rest.ok()) << rest.status().message();
  for (const TuneOption& o : *rest) EXPECT_TRUE(o.setting.value != "merge_qkv" && o.setting.value != "flash_decoding");
}

TEST(TunedFile, GivesBackWhatWasChosenForThisModelAndMachineAlone) {
  TuneReport r;
  r.model = "/models/m.gguf";
  r.cpu = "a CPU";
  r.model_bytes = 5;
  r.chosen = {{"--kv", "q8_0"}, {"--disable", "merge_qkv"}};
  const std::string text = tuned_text(r);
  EXPECT_EQ(*parse_tuned(text, "t", {"/models/m.gguf", 5, "a CPU"}), r.chosen);
  EXPECT_THAT(parse_tuned(text, "t", {"/models/m.gguf", 6, "a CPU"}).status().message(), HasSubstr("vibee tune"));
  EXPECT_THAT(parse_tuned(text, "t", {"/models/m.gguf", 5, "another"}).status().message(), HasSubstr("vibee tune"));
  for (const std::string& bad :
       {std::string(), std::string("{"), std::string("[]"), text.substr(0, text.size() / 2),
        std::string(R"({"model": "/models/m.gguf", "model_bytes": 5, "cpu": "a CPU"})"),
        std::string(R"({"model": "/models/m.gguf", "model_bytes": 5, "cpu": "a CPU", "chosen": [3]})")})
    EXPECT_FALSE(parse_tuned(bad, "t", {"/models/m.gguf", 5, "a CPU"}).ok()) << bad;
  LoadConfig config;
  ASSERT_TRUE(apply_defaults(r.chosen, &config).ok());
  EXPECT_EQ(config.kv, "q8_0");
  EXPECT_EQ(config.disable, std::vector<std::string>{"merge_qkv"});
  LoadConfig said;
  said.kv = "f32";
  ASSERT_TRUE(apply_defaults(r.chosen, &said).ok());
  EXPECT_EQ(said.kv, "f32");  // what the user said goes before
  EXPECT_FALSE(apply({"--batch", "3"}, &config).ok());
  EXPECT_FALSE(apply({"--chunk", "x"}, &config).ok());
}

}  // namespace
}  // namespace vibee
