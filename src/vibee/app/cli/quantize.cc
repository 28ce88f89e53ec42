// SPDX-License-Identifier: Apache-2.0
// vibee quantize: a model in fewer bits.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/quantized_report.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/work_line.h"

namespace vibee {
namespace {

Result<std::optional<NamedText>> named_text(const std::string& path) {
  if (path.empty()) return std::optional<NamedText>();
  VIBEE_ASSIGN(std::string text, read_text(path));
  return std::optional<NamedText>({path, std::move(text)});
}

/// Prints a result or what is wrong with it; the exit status.
template <class Outcome>
int finish(const QuantizeConfig& config, const Result<Outcome>& result, bool json) {
  if (!result.ok()) return fail("quantize", result.status());
  for (const std::string& warning : result->warnings)
    std::fputs(fmt::format("vibee quantize: warning: {}\n", warning).c_str(), stderr);
  std::puts((json ? quantized_json(config, *result) : quantized_text(config, *result)).c_str());
  return kExitOk;
}

}  // namespace

int verb_quantize(int argc, char** argv) {
  QuantizeConfig config;
  std::string calib, text, choices;
  bool json = false;
  std::vector<std::string> recipes, schemes = {"gguf", "exl2", "any", "atom"};
  for (std::string& scheme : quanto_types()) schemes.push_back(std::move(scheme));
  for (std::string& scheme : torchao_recipes()) schemes.push_back(std::move(scheme));
  for (std::string& scheme : group_schemes()) schemes.push_back(std::move(scheme));
  for (const Recipe& r : all_recipes()) recipes.emplace_back(r.name);
  Args args(
      "quantize",
      "Writes a model in fewer bits as a GGUF file with a certificate of what it was made from and, with --text, how "
      "far it is from that. A run that is stopped goes on where it was when it is started again.");
  args.add("SRC", config.source,
           "a GGUF file, a directory with config.json and safetensors, or a name from `vibee list`")
      .required();
  args.add("DST", config.target, "the file to write; of another scheme a directory that is not there yet").required();
  args.add(
          "--scheme", config.scheme,
          "gguf: a file in formats of GGUF; exl2: a directory as ExLlamaV2 writes it, inputs sorted by importance, the "
          "first ones in more bits; any: a directory that every verb runs at any width (--bits) from --seed-bits to "
          "--parent-bits; atom: a directory whose weights and rows have four bits, but for the inputs that --calib "
          "finds largest; quanto: a directory as optimum-quanto saves it; torchao: one as transformers saves it with "
          "torchao, in a recipe of its; gptq, awq, compressed-tensors "
          "(pack-quantized), bitsandbytes: directories in these layouts, with the codes of SRC where it is one of them")
      .one_of(schemes);
  args.add("--format", config.format, "a mix of formats as llama.cpp names it, or a number format").one_of(recipes);
  args.add("--pure", config.pure, "every matrix in the one format, head and embedding too");
  args.add("--budget", config.budget,
           "the file's size at most (4.25bpw, 90MiB; of exl2 that of the layers' linears), tokens a second that this "
           "machine "
           "has to generate (300tok/s), or what may be lost (0.01nats of KL divergence): the format of each matrix is "
           "chosen "
           "by what it costs the model");
  args.add("--head-bits", config.head_bits, "of exl2: about so many bits of a head with weights of its own")
      .between(2, 8);
  args.add("--choices", choices, "formats that a budget is spent on, comma between; without it those of GGUF");
  args.add("--measurement", config.measurement,
           "a file that keeps what was measured for a budget; read if it is there, for other budgets or after a stop");
  args.add("--picture", config.picture, "an SVG of what sizes cost");
  args.add("--probe-windows", config.probe_windows, "windows of --calib on which each matrix is measured")
      .between(1, 1 << 20);
  args.add("--seed-bits", config.seed_bits, "narrowest width of --scheme any").between(3, 8);
  args.add("--parent-bits", config.parent_bits, "widest width of --scheme any").between(3, 8);
  args.add("--table", config.table,
           "values of --scheme any: lut, a table a row and width; affine, a scale and an offset a group of 64")
      .one_of(std::vector<std::string>{"lut", "affine"});
  args.add("--optimizer", config.optimizer,
           "shifts of quanto:qint4 and qint2: max, from the least weight of a group; hqq, searched for small errors")
      .one_of(std::vector<std::string>{"max", "hqq"});
  args.add("--bits", config.bits,
           "of gptq and compressed-tensors: 2, 3, 4 or 8 bits of a code, of torchao's intx 1 to 8; 0: as SRC where it "
           "has codes, else 4")
      .between(0, 8);
  args.add("--group", config.group,
           "of gptq, awq, compressed-tensors, atom and torchao's intx: weights of a row behind one scale: 32, 64, 128, "
           "or -1 for the "
           "row "
           "(not atom and torchao); 0: as SRC where it has groups, else what divides all rows, of atom each matrix's "
           "own, of torchao 32")
      .between(-1, 128);
  args.add("--asymmetric", config.asymmetric,
           "of gptq, compressed-tensors and torchao's intx: groups have zero points, as those of awq always do");
  args.add("--include", config.include,
           "of quanto, torchao, gptq, awq, compressed-tensors, bitsandbytes: modules that are quantised, by wildcards "
           "('*.mlp.*'); without it all linears");
  args.add("--exclude", config.exclude, "of these: modules that are not (lm_head)");
  args.add("--solver", config.solver,
           "search: scales of least error; gptq: columns one behind the other, each making up for those before")
      .one_of(std::vector<std::string>{"search", "gptq"});
  args.add("--smooth-attention", config.smooth_attention,
           "level the channels of keys on --calib for a cache of few bits (--kv int4); attention stays the same");
  args.add("--calib", calib, "a text that says which columns matter; of --scheme any, which weights");
  args.add("--imatrix", config.imatrix, "a file that says it, in llama.cpp's form (GGUF)");
  args.add("--save-imatrix", config.save_imatrix, "write what --calib found, in that form");
  args.add("--text", text, "a text that was held out: quality and speed are measured and go into the file");
  args.add("--ctx", config.context, "tokens of a window of either text").between(4, 1 << 20);
  args.add("--windows", config.windows, "windows of --text at most; 0: all of it");
  args.add("--threads", config.threads, "threads; 0: one a core").between(0, 256);
  args.add("--json", json, "print an object when done");
  args.example("vibee quantize smollm2-135m small.gguf");
  args.example("vibee quantize ~/models/Llama-3.2-1B llama.gguf --format q5_k_m --text book.txt");
  args.example("vibee quantize gemma3-270m gemma.gguf --format q4_0 --solver gptq --calib wiki.txt");
  args.example("vibee quantize gemma3-270m gemma.gguf --budget 4.5bpw --calib wiki.txt --text book.txt");
  args.example("vibee quantize gemma3-270m fast.gguf --budget 120tok/s --calib wiki.txt --measurement gemma.json");
  args.example("vibee quantize gemma3-270m gemma-any --scheme any --calib wiki.txt");
  args.example("vibee quantize smollm2-135m smollm2-exl2 --scheme exl2 --budget 3.5bpw --calib wiki.txt");
  args.example("vibee quantize smollm2-135m smollm2-atom --scheme atom --calib wiki.txt");
  args.example("vibee quantize ~/models/Llama-3.2-1B llama-quanto --scheme quanto:qint4 --exclude lm_head");
  args.example("vibee quantize smollm2-135m smollm2-gptq --scheme gptq --calib wiki.txt");
  args.example("vibee quantize ~/models/Llama-3.2-1B llama-ao --scheme torchao:int8da_intxw --bits 4 --group 32");
  args.example("vibee quantize gemma3-270m gemma.gguf --format q3_k_m --calib wiki.txt --save-imatrix gemma.imatrix");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  for (const auto& [path, to] : {std::pair{&calib, &config.calibration}, std::pair{&text, &config.text}}) {
    auto read = named_text(*path);
    if (!read.ok()) return fail("quantize", read.status());
    *to = std::move(*read);
  }
  for (size_t at = 0; at < choices.size();) {
    const size_t end = std::min(choices.find(',', at), choices.size());
    config.choices.push_back(choices.substr(at, end - at));
    at = end + 1;
  }
  catch_interrupt();
  WorkLine line;
  const auto run = [&](auto job) {
    const auto result = job(config, line.on_work());
    line.clear();
    return finish(config, result, json);
  };
  if (config.scheme == "any") return run(quantize_any);
  if (config.scheme == "exl2") return run(quantize_exl2);
  if (config.scheme == "atom") return run(quantize_atom);
  if (config.scheme.starts_with(kQuantoScheme)) return run(quantize_quanto);
  if (config.scheme.starts_with(kTorchaoScheme)) return run(quantize_torchao);
  if (find_group_layout(config.scheme) != nullptr) return run(quantize_groups);
  return run(quantize);
}

}  // namespace vibee
