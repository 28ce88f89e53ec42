// SPDX-License-Identifier: Apache-2.0
// vibee quantize and verify on tiny models, end to end.
#include "vibee/app/jobs/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

/// Text of single bytes and words.
NamedText text(const std::string& name, uint32_t seed, size_t words) {
  RandomStream random(seed, Purpose::test);
  std::string out;
  for (size_t i = 0; i < words; ++i) out += std::string(1, char('a' + random.below(26))) + (random.below(4) ? "" : " ");
  return {name, out};
}

class Quantize : public testing::Test {
 protected:
  Quantize()
      : model_({.format = Format::f16,
                .vocab = 300,
                .dim = 256,
                .layers = 2,
                .head_dim = 128,
                .ff = 96,
                .tokenizer = true}),
        target_(folder_.path() + "/out.gguf") {}
  QuantizeConfig config(const std::string& format = "q4_k_m") {
    QuantizeConfig c;
    c.source = model_.path(), c.target = target_, c.format = format, c.threads = 2, c.context = 16, c.windows = 4;
    return c;
  }
  static std::string message(const QuantizeConfig& c) {
    const auto done = quantize(c, nullptr);
    return done.ok() ? "no error" : done.status().message();
  }
  std::string bytes() const {
    std::ifstream in(target_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(size_t at, char c) {
    std::fstream file(target_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(std::streamoff(at));
    file.put(c);
  }
  TempFolder folder_;
  TinyModelFile model_;
  std::string target_;
};

TEST_F(Quantize, TheSolverChoosesOtherCodesInAFileOfTheSameSize) {
  QuantizeConfig c = config("q4_0");
  c.pure = true;
  c.calibration = text("calib", 5, 600);
  auto done = quantize(c, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  const std::string searched = bytes();
  c.solver = "gptq";
  done = quantize(c, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_EQ(done->certificate.solver, "gptq");
  EXPECT_EQ(done->report.unsolved, 1u) << "the embedding, which nothing multiplies";
  const std::string solved = bytes();
  EXPECT_NE(solved, searched);
  auto file = open_checkpoint(target_);
  ASSERT_TRUE(file.ok());
  auto read = Certificate::read(*file);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->solver, "gptq");
  // Whatever the threads.
  c.threads = 1;
  ASSERT_TRUE(quantize(c, nullptr).ok());
  EXPECT_EQ(bytes(), solved);
}

TEST_F(Quantize, ABudgetIsKeptToTheByteAndItsMeasurementIsKept) {
  QuantizeConfig c = config();
  c.calibration = text("calib", 5, 600);
  c.budget = "6bpw";
  c.probe_windows = 2;
  c.measurement = folder_.path() + "/m.json";
  c.picture = folder_.path() + "/m.svg";
  auto done = quantize(c, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_LE(done->report.bits_per_weight(), 6.0);
  ASSERT_TRUE(done->allocation);
  EXPECT_EQ(done->report.bytes, done->allocation->bytes);
  EXPECT_TRUE(fs::exists(c.measurement) && fs::exists(c.picture));
  c.budget = "7bpw";
  bool measured = false;
  done = quantize(c, [&](const WorkProgress& p) {
    measured = measured || p.what.find("matter") != p.what.npos;
    return true;
  });
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_FALSE(measured) << "the file says it";
  EXPECT_GT(done->report.bits_per_weight(), 6.0);
  // Time is measured once, too, and a budget of it or of damage is kept by what is predicted.
  c.budget = "1tok/s";
  done = quantize(c, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_GT(done->allocation->seconds, 0);
  EXPECT_LE(done->allocation->seconds, 1);
  const double least = done->allocation->predicted;  // time enough for the best
  bool timed = false;
  c.budget = fmt::format("{}tok/s", 0.99 / done->allocation->seconds);
  done = quantize(c, [&](const WorkProgress& p) {
    timed = timed || p.what == "measuring speed";
    return true;
  });
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_FALSE(timed) << "the file says it";
  EXPECT_EQ(done->allocation->predicted, least);
  c.budget = fmt::format("{}nats", 3 * least);
  done = quantize(c, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_LE(done->allocation->predicted, 3 * least);
  EXPECT_GT(done->allocation->predicted, least);
  c.budget = fmt::format("{}nats", least / 2);
  EXPECT_THAT(message(c), HasSubstr("add --choices with more bits"));
  c.budget = "1e12tok/s";
  EXPECT_THAT(message(c), HasSubstr("with every matrix in its fastest format"));
  // A file that somebody changed: each mistake is named, and nothing is written.
  std::ifstream in(c.measurement);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = whole;
    changed.replace(changed.find(from), from.size(), to);
    std::ofstream(c.measurement) << changed;
    return message(c);
  };
  EXPECT_THAT(with("blk.0.attn_q.weight", "blk.7.attn_q.weight"), HasSubstr("\"blk.7.attn_q.weight\" is no matrix"));
  EXPECT_THAT(with("\"errors\": [", "\"errors\": [-"), HasSubstr("is no error"));
  EXPECT_THAT(with("\"kl\": ", "\"kl\": -"), HasSubstr("is no divergence"));
  EXPECT_THAT(with("\"formats\": [\"", "\"formats\": [\"no"), HasSubstr("no"));
  EXPECT_THAT(with(whole.substr(whole.size() / 2), ""), HasSubstr("m.json"));
  std::ofstream(c.measurement) << whole;
  c.choices = {"q4_0", "q8_0"};
  EXPECT_THAT(message(c), HasSubstr("measured on another model, text or choice of formats"));
  c.measurement.clear();
  c.budget = "10KiB";
  EXPECT_THAT(message(c), HasSubstr("--budget 10KiB: a budget of 10240 bytes is below"));
  c.budget = "much";
  EXPECT_THAT(message(c), HasSubstr("as 4.25bpw"));
  c.choices = {"q4_k_m"};
  EXPECT_THAT(message(c), HasSubstr("--choices"));
}

TEST_F(Quantize, RefusesWhatHasNoInputs) {
  QuantizeConfig c = config();
  c.solver = "gptq";
  EXPECT_THAT(message(c), HasSubstr("needs --calib TEXT"));
  c.solver = "search";
  c.budget = "4bpw";
  EXPECT_THAT(message(c), HasSubstr("needs --calib TEXT"));
  c = config();
  c.picture = "x.svg";
  EXPECT_THAT(message(c), HasSubstr("there is none"));
}

TEST_F(Quantize, WritesWhatItReports) {
  const auto done = quantize(config(), nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  const QuantizeReport& r = done->report;
  auto file = open_checkpoint(target_);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(r.bytes, fs::file_size(target_));
  uint64_t elements = 0;
  std::map<Format, uint64_t> tensors;
  for (const TensorInfo& t : file->tensors()) {
    elements += t.elements();
    ++tensors[t.format];
  }
  EXPECT_EQ(r.elements, elements);
  EXPECT_DOUBLE_EQ(r.bits_per_weight(), 8.0 * double(r.bytes) / double(elements));
  for (const auto& [format, share] : r.formats) EXPECT_EQ(share.tensors, tensors[format]);
  // Rows of 96 (ffn_down) take what fits: q6_k where the recipe has more bits, here in both layers or one of them.
  EXPECT_EQ(file->find("blk.0.attn_q.weight")->format, Format::q4_k);
  EXPECT_EQ(file->find("output.weight")->format, Format::q6_k);
  EXPECT_EQ(file->find("blk.1.ffn_down.weight")->format, Format::q8_0);
  EXPECT_EQ(r.indivisible, 2u);
  EXPECT_EQ(*file->get_u64("general.file_type"), 15u);
  const auto certificate = Certificate::read(*file);
  ASSERT_TRUE(certificate.ok()) << certificate.status().message();
  EXPECT_EQ(certificate->recipe, "q4_k_m");
  EXPECT_EQ(certificate->weights, done->certificate.weights);
  EXPECT_FALSE(certificate->quality);
}

TEST_F(Quantize, EveryRecipeRuns) {
  for (const Recipe& recipe : all_recipes()) {
    const auto done = quantize(config(std::string(recipe.name)), nullptr);
    ASSERT_TRUE(done.ok()) << recipe.name << ": " << done.status().message();
    const auto verified = verify({.file = target_, .base = model_.path(), .threads = 1}, nullptr);
    ASSERT_TRUE(verified.ok()) << verified.status().message();
    EXPECT_TRUE(verified->holds()) << recipe.name;
    EXPECT_EQ(verified->claims.size(), 2u);
  }
}

TEST_F(Quantize, AStoppedRunGivesTheBytesOfOneThatWasNot) {
  ASSERT_TRUE(quantize(config(), nullptr).ok());
  const std::string whole = bytes();
  fs::remove(target_);
  int slices = 0;
  const auto stopped =
      quantize(config(), [&](const WorkProgress& p) { return p.what != "quantising" || ++slices < 6; });
  EXPECT_EQ(stopped.status().code(), Code::cancelled);
  EXPECT_FALSE(fs::exists(target_));
  const auto done = quantize(config(), nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_GT(done->report.resumed, 0u);
  EXPECT_EQ(bytes(), whole);
}

TEST_F(Quantize, AMeasurementThatWasStoppedGoesOn) {
  QuantizeConfig c = config();
  c.calibration = text("calib", 5, 600);
  c.budget = "6bpw";
  c.probe_windows = 2;
  c.measurement = folder_.path() + "/whole.json";
  ASSERT_TRUE(quantize(c, nullptr).ok());
  c.measurement = folder_.path() + "/stopped.json";
  const auto stopped =
      quantize(c, [](const WorkProgress& p) { return p.what.find("matter") == p.what.npos || p.done < 3; });
  ASSERT_FALSE(stopped.ok());
  EXPECT_THAT(stopped.status().message(), HasSubstr("stopped after 3 of"));
  double first = -1;
  const auto resumed = quantize(c, [&](const WorkProgress& p) {
    if (p.what.find("matter") != p.what.npos && first < 0) first = p.done;
    return true;
  });
  ASSERT_TRUE(resumed.ok()) << resumed.status().message();
  EXPECT_EQ(first, 3);
  const auto read = [&](const char* name) {
    std::ifstream in(folder_.path() + name);
    return std::string{std::istreambuf_iterator<char>(in), {}};
  };
  EXPECT_EQ(read("/stopped.json"), read("/whole.json"));
}

TEST_F(Quantize, CertificateIsMeasuredAndMeasuredAgain) {
  QuantizeConfig c = config("q4_0");
  c.calibration = text("calib.txt", 1, 400);
  c.text = text("held.txt", 2, 200);
  c.save_imatrix = folder_.path() + "/a.imatrix";
  const auto done = quantize(c, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  const Certificate::Quality& q = *done->certificate.quality;
  EXPECT_EQ(q.windows, 4u);
  EXPECT_GT(q.kl, 0);
  EXPECT_GT(q.perplexity, 1);
  EXPECT_LE(q.top1_low, q.top1);
  EXPECT_GE(q.top1_high, q.top1);
  EXPECT_GT(q.generate_rate, 0);
  EXPECT_FALSE(q.machine.empty());
  const auto again = [&](const NamedText& held) {
    return verify({.file = target_, .base = model_.path(), .text = held, .threads = 1}, nullptr);
  };
  const auto verified = again(*c.text);
  ASSERT_TRUE(verified.ok()) << verified.status().message();
  for (const Claim& claim : verified->claims)
    EXPECT_TRUE(claim.holds) << claim.what << " is " << claim.found << ", certified is " << claim.claimed;
  EXPECT_EQ(verified->claims.size(), 9u);
  const auto other = again(text("other.txt", 3, 200));
  ASSERT_TRUE(other.ok());
  EXPECT_FALSE(other->holds());
  EXPECT_EQ(other->claims.back().what, "text");
  // The file of importance gives the bytes of the text that it came from, but for what the certificate says of it.
  QuantizeConfig from_file = config("q4_0");
  from_file.imatrix = c.save_imatrix;
  const auto second = quantize(from_file, nullptr);
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_EQ(second->certificate.weights, done->certificate.weights);
  EXPECT_EQ(second->certificate.importance, done->certificate.importance);
  ASSERT_TRUE(quantize(config("q4_0"), nullptr).ok());
  EXPECT_NE(quantize(config("q4_0"), nullptr)->certificate.weights, done->certificate.weights);
}

TEST_F(Quantize, ACertificateOfAnotherFileIsFound) {
  ASSERT_TRUE(quantize(config("q8_0"), nullptr).ok());
  put(bytes().size() - 40, '!');  // a weight
  auto result = verify({.file = target_, .threads = 1}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_FALSE(result->holds());
  EXPECT_EQ(result->claims[0].what, "weights");
  const TinyModelFile other({.format = Format::f16,
                             .vocab = 300,
                             .dim = 256,
                             .layers = 2,
                             .head_dim = 128,
                             .ff = 96,
                             .tokenizer = true,
                             .seed = 2});
  ASSERT_TRUE(quantize(config("q8_0"), nullptr).ok());
  result = verify({.file = target_, .base = other.path(), .threads = 1}, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->holds());
  EXPECT_EQ(result->claims[1].what, "base");
  EXPECT_THAT(verify({.file = model_.path(), .threads = 1}, nullptr).status().message(),
              HasSubstr("has no certificate; `vibee quantize` writes one"));
  EXPECT_THAT(verify({.file = target_, .base = model_.path(), .text = text("x", 1, 9), .threads = 1}, nullptr)
                  .status()
                  .message(),
              HasSubstr("its certificate measures nothing"));
}

TEST_F(Quantize, BadInputIsOneLine) {
  EXPECT_THAT(message(config("q4_k_x")), HasSubstr("unknown recipe \"q4_k_x\"; known: q2_k"));
  QuantizeConfig c = config();
  c.calibration = text("short.txt", 1, 20);
  EXPECT_THAT(message(c), HasSubstr("short.txt: the calibration text has "));
  EXPECT_THAT(message(c), HasSubstr("at least 128 (8 windows of 16) are needed"));
  c.imatrix = "x";
  EXPECT_THAT(message(c), HasSubstr("--calib and --imatrix both"));
  c = config();
  c.save_imatrix = "x";
  EXPECT_THAT(message(c), HasSubstr("nothing is measured without --calib"));
  c = config();
  c.calibration = c.text = text("same.txt", 1, 400);
  EXPECT_THAT(message(c), HasSubstr("is the calibration text"));
  c = config();
  c.target = model_.path();
  EXPECT_THAT(message(c), HasSubstr("source and target are the same"));
  c.target = folder_.path();
  EXPECT_THAT(message(c), HasSubstr("is a directory"));
  c.target = folder_.path() + "/no/out.gguf";
  EXPECT_THAT(message(c), HasSubstr("No such file or directory"));
  EXPECT_FALSE(fs::exists(target_));
}

}  // namespace
}  // namespace vibee
