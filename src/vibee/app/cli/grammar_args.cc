// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/grammar_args.h"

#include "vibee/app/cli/read_text.h"

namespace vibee {

void GrammarArgs::add_to(Args& args) {
  args.add("--json-schema", json_schema,
           "the text is JSON of this schema: a file, or the schema itself if it begins with {");
  args.add("--json-object", json_object, "the text is a JSON object");
  args.add("--regex", regex, "the text matches this ECMA-262 pattern from its first to its last character");
  args.add("--grammar", grammar, "the text is of the grammar in this GBNF file");
}

Result<std::shared_ptr<const Grammar>> GrammarArgs::compile(const Tokenizer& tokenizer) const {
  std::vector<GrammarSource> sources;
  if (json_schema.find_first_not_of(" \t\r\n") != std::string::npos) {
    const bool is_text = json_schema[json_schema.find_first_not_of(" \t\r\n")] == '{';
    std::string text = json_schema;
    if (!is_text) {
      VIBEE_ASSIGN(text, read_text(json_schema));
    }
    sources.push_back({GrammarSource::json_schema, std::move(text)});
  }
  if (json_object) sources.push_back({GrammarSource::json_object, {}});
  if (!regex.empty()) sources.push_back({GrammarSource::regex, regex});
  if (!grammar.empty()) {
    VIBEE_ASSIGN(std::string text, read_text(grammar));
    sources.push_back({GrammarSource::gbnf, std::move(text)});
  }
  if (sources.empty()) return std::shared_ptr<const Grammar>();
  if (sources.size() > 1)
    return error(Code::invalid, "--json-schema, --json-object, --regex and --grammar exclude one another; give one");
  return Grammar::compile(sources[0], std::make_shared<TokenTrie>(tokenizer));
}

}  // namespace vibee
