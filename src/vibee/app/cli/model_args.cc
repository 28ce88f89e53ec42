// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/model_args.h"

#include <csignal>
#include <cstdlib>
#include <random>

#include "vibee/app/jobs/generate.h"

namespace vibee {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;  // signal handlers can reach nothing else

}  // namespace

void add_model_args(Args& args, LoadConfig& c, bool with_batch) {
  args.add("MODEL", c.model, "a GGUF file, or a name from `vibee list`; default: the model in the binary");
  add_load_args(args, c, with_batch);
}

void add_load_args(Args& args, LoadConfig& c, bool with_batch) {
  args.add("--device", c.device,
           "where the model lies and computes: cpu, cuda, or cuda:N for device N (see `vibee doctor`)");
  args.add("-t,--threads", c.threads, "threads; 0: one a core");
  args.add("--isa", c.isa, "scalar, avx2, avx512 or amx; default: the best of this CPU");
  args.add("-c,--ctx", c.context, "positions a sequence; 0: the model's own, at most 4096");
  if (with_batch) args.add("-b,--batch", c.batch, "sequences at once").between(1, 4096);
  args.add("--chunk", c.chunk, "prompt rows a step").between(1, 65536);
  std::vector<std::string> formats = writable_formats();
  formats.insert(formats.begin(), "keep");
  args.add("--weights", c.weights, "format that matrices are brought into while they are read, by plain rounding")
      .one_of(formats);
  args.add("--bits", c.bits, "of a model that stores several widths (quantize --scheme any); 0: its widest")
      .between(0, 8);
  std::vector<std::string> kv_formats;
  for (const KvFormatInfo& f : kKvFormats) kv_formats.emplace_back(f.name);
  args.add("--kv", c.kv, "format of keys and values").one_of(kv_formats);
  args.add(
          "--act", c.act,
          "rows that meet an integer weight: int8, llm_int8 (int8 but for large elements), bf16 (32 and more in a step "
          "by AMX, weights too: prompts are faster, and a row's bytes depend on how many stand beside it), or f32 "
          "(slow; no rounding of activations)")
      .one_of({"int8", "llm_int8", "bf16", "f32"});
  args.add("--outlier-threshold", c.outlier_threshold,
           "with --act llm_int8: elements of at least this size stay floats; 0: none; default: 6");
  args.add("--memory", c.memory, "refuse to take more than this many bytes");
  args.add("--attention-split", c.attention_split, "threads share the keys of few rows over long contexts")
      .one_of({"auto", "off"});
  std::vector<std::string> policies, indices = {"off"};
  for (const SchedulerPolicy* policy : scheduler_policies()) policies.emplace_back(policy->id);
  for (const PrefixIndexKind& kind : prefix_index_kinds()) indices.emplace_back(kind.id);
  args.add("--prefix", c.prefix, "how what was computed is found for texts that begin alike").one_of(indices);
  if (with_batch) {
    args.add("--policy", c.policy, "who runs in a step").one_of(policies);
    std::vector<std::string> orders;
    for (const RequestOrder* order : request_orders()) orders.emplace_back(order->id);
    args.add("--order", c.order, "who of those that wait goes first").one_of(orders);
    args.add("--tbt", c.tbt_ms,
             "with --policy sarathi: milliseconds between two tokens; 0: three steps of one row, at least 50")
        .between(0, 1e6);
  }
  args.add("--disable", c.disable, "turn a pass or technique off by its id; may be given several times");
}

void set_serve_defaults(LoadConfig* c) {
  c->batch = 32;
  c->policy = "sarathi";
  c->order = "vtc";
  c->shrink_pages = true;
}

void add_kv_disk(Args& args, LoadConfig& c) {
  args.add("--kv-disk", c.kv_disk,
           "DIR,SIZE: keep what was computed in this folder, at most SIZE of it (500M, 4G), for later runs");
}

void add_lora_args(Args& args, LoadConfig& c, const std::string& help) {
  args.add("--lora", c.loras, help);
  args.add("--max-lora-rank", c.max_lora_rank, "room for adapters of at most this rank").between(1, 1024);
}

void SamplingArgs::add_to(Args& args) {
  args.add("-n,--tokens", max_tokens, "tokens to generate, at most").between(1, 1 << 26);
  args.add("--temperature", temperature, "0: greedy; this and the next five as the model's files say, else 0.7")
      .between(0, 100);
  args.add("--top-k", top_k, "keep the k likeliest; 0: off").between(0, 1 << 24);
  args.add("--top-p", top_p, "keep the likeliest with this mass; 1: off; else 0.95").between(1e-6, 1);
  args.add("--min-p", min_p, "drop those below this share of the likeliest; 0: off; else 0.05").between(0, 1);
  args.add("--typical-p", typical_p, "keep the most typical with this mass; 1: off").between(1e-6, 1);
  args.add("--repetition-penalty", repetition_penalty, "divides logits of seen tokens; 1: off").between(0.01, 100);
  args.add("--presence-penalty", presence_penalty, "subtracted once for a seen token").between(-100, 100);
  args.add("--frequency-penalty", frequency_penalty, "subtracted for each occurrence").between(-100, 100);
  args.add("--logit-bias", bias, "TOKEN=VALUE, added to the logit of a token id");
  args.add("--greedy", greedy, "the likeliest token each time");
  args.add("--seed", seed, "same seed, same text");
  args.add("--stop", stop, "end the text before this string");
  args.add("--ignore-end", ignore_end, "go on after the model's end token");
}

Result<SamplingParams> SamplingArgs::params(const SamplingDefaults& files) const {
  SamplingParams p = default_sampling(files);
  const auto set = [](const std::optional<double>& from, float* to) {
    if (from) *to = float(*from);
  };
  set(greedy ? 0 : temperature, &p.temperature);
  set(top_p, &p.top_p);
  set(min_p, &p.min_p);
  set(typical_p, &p.typical_p);
  set(repetition_penalty, &p.repetition_penalty);
  if (top_k) p.top_k = uint32_t(*top_k);
  p.presence_penalty = float(presence_penalty);
  p.frequency_penalty = float(frequency_penalty);
  p.logprobs = logprobs;
  if (seed) {
    p.seed = *seed;
  } else {
    std::random_device device;
    p.seed = (uint64_t(device()) << 32) | device();
  }
  for (const std::string& entry : bias) {
    const size_t at = entry.find('=');
    char *end_token = nullptr, *end_value = nullptr;
    const long token = std::strtol(entry.c_str(), &end_token, 10);
    const float value = at == std::string::npos ? 0 : std::strtof(entry.c_str() + at + 1, &end_value);
    if (at == std::string::npos || end_token != entry.c_str() + at || *end_value != 0 || at + 1 == entry.size())
      return error(Code::invalid, "--logit-bias {}: expected TOKEN=VALUE, e.g. 42=-5", entry);
    p.logit_bias.emplace_back(int32_t(token), value);
  }
  return p;
}

bool interrupted() { return g_interrupted != 0; }
void catch_interrupt(int signal) {
  std::signal(signal, [](int) {
    if (g_interrupted) std::_Exit(130);
    g_interrupted = 1;
  });
}

}  // namespace vibee
