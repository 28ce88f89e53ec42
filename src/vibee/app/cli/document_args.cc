// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/document_args.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// "\n" and "\t" of a shell's word as what they mean.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 'n' || text[i + 1] == 't')) {
      out += text[++i] == 'n' ? '\n' : '\t';
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

void DocumentArgs::add_to(Args& args) {
  args.add("INPUT", inputs, "text files, and JSON lines (.jsonl) with a text or with messages; -: standard input")
      .required();
  args.add("--as", kind, "what the inputs are; auto: by their names").one_of({"auto", "text", "jsonl"});
  args.add("--field", field, "the field of a JSON line that holds the text");
  args.add("--separator", separator,
           "what stands between the documents of a text file (\\n is a line break); without it a file is one");
  args.add("-t,--threads", threads, "threads; 0: one a core").between(0, 1024);
}

Result<DocumentScan> DocumentArgs::scan(const std::vector<std::string>& outputs) const {
  DocumentScan scan;
  scan.inputs = inputs;
  using Kind = DocumentOptions::Kind;
  scan.options.kind = kind == "text" ? Kind::text : kind == "jsonl" ? Kind::lines : Kind::by_name;
  scan.options.field = field;
  scan.options.separator = unescape(separator);
  scan.threads = threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
  for (const std::string& input : inputs) {
    std::error_code ignored;
    if (std::filesystem::is_directory(input, ignored))
      return error(Code::invalid, "{}: is a directory; name its files", quote(input, 400));
    for (const std::string& output : outputs) {
      if (std::filesystem::equivalent(input, output, ignored))
        return error(Code::invalid, "{}: would be read and written; name another file to write", quote(output, 400));
    }
  }
  return scan;
}

uint64_t DocumentArgs::bytes() const {
  uint64_t total = 0;
  for (const std::string& input : inputs) {
    std::error_code failed;
    const uintmax_t size = std::filesystem::file_size(input, failed);
    if (!failed) total += size;
  }
  return total;
}

}  // namespace vibee
