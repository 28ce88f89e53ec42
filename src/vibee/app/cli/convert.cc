// SPDX-License-Identifier: Apache-2.0
// vibee convert: a model into another container or number format.
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/progress_line.h"
#include "vibee/app/jobs/convert.h"
#include "vibee/base/text/json_object.h"

namespace vibee {

int verb_convert(int argc, char** argv) {
  ConvertConfig config;
  bool json = false;
  std::vector<std::string> formats = {"keep"};
  for (const NumericFormat& f : all_formats())
    if (f.encode && f.in_gguf()) formats.emplace_back(f.name);
  Args args("convert",
            "Writes a model in another container or number format, tensor by tensor; the result appears whole or not "
            "at all.");
  args.add("SRC", config.source,
           "a GGUF file, a directory with config.json and safetensors, or a name from `vibee list`")
      .required();
  args.add("DST", config.target, "the file to write, or for hf the directory").required();
  args.add("--to", config.to, "container").one_of({"gguf", "hf"});
  args.add("--format", config.format, "number format of the matrices").one_of(formats);
  args.add("--lora", config.loras, "an adapter to add to the weights, PATH[:SCALE]; may be given several times");
  args.add("--threads", config.threads, "threads; 0: one a core").between(0, 256);
  args.add("--json", json, "print an object when done");
  args.example("vibee convert smollm2-135m smollm2-f16.gguf --format f16");
  args.example("vibee convert smollm2-135m smollm2 --to hf --format bf16");
  args.example("vibee convert ~/models/Llama-3.2-1B llama.gguf --format q8_0");
  args.example("vibee convert smollm2-135m tuned.gguf --lora run/adapter.gguf --format q8_0");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  ProgressLine line("MB", 1e6);
  const auto report = convert(config, [&](uint64_t done, uint64_t total) {
    line.show(done, total);
    return !interrupted();
  });
  line.clear();
  if (!report.ok()) return fail("convert", report.status());
  for (const std::string& warning : report->warnings)
    std::fputs(fmt::format("vibee convert: warning: {}\n", warning).c_str(), stderr);
  if (report->indivisible)
    std::fputs(
        fmt::format("vibee convert: warning: blocks of {} do not divide the rows of {} matrices, which are in the "
                    "format that takes its place (docs/quantize.md)\n",
                    config.format, report->indivisible)
            .c_str(),
        stderr);
  if (json) {
    std::vector<std::string> warnings;
    for (const std::string& warning : report->warnings) warnings.push_back(json_quote(warning));
    std::puts(JsonObject()
                  .text("source", report->source)
                  .text("path", config.target)
                  .text("to", config.to)
                  .text("format", config.format)
                  .integer("tensors", report->tensors)
                  .integer("bytes", report->bytes)
                  .integer("indivisible", report->indivisible)
                  .boolean("tokenizer", report->tokenizer)
                  .raw("warnings", json_array(warnings))
                  .number("seconds", report->seconds)
                  .str()
                  .c_str());
  } else {
    std::puts(fmt::format("{}: {} tensors, {:.1f} MB in {:.1f} s", config.target, report->tensors,
                          double(report->bytes) / 1e6, report->seconds)
                  .c_str());
  }
  return kExitOk;
}

}  // namespace vibee
