// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/tagged.h"

#include <nlohmann/json.hpp>

#include "vibee/base/text/ordered_json.h"
#include "vibee/serve/grammar/json_schema.h"

namespace vibee {
namespace {

ByteSet bytes_of(std::string_view text) {
  ByteSet out;
  for (const char c : text) out[uint8_t(c)] = true;
  return out;
}

}  // namespace

Result<Symbol> rules_of_tagged(std::string_view text, Rules& rules) {
  const OrderedJson source = OrderedJson::parse(text.begin(), text.end(), nullptr, false);
  if (!source.is_object() || !source.contains("schema")) return error(Code::invalid, "no object with a schema");
  const std::string begin = source.value("begin", ""), end = source.value("end", "");
  const bool free = source.value("free", true), several = source.value("several", true) && !begin.empty();
  VIBEE_ASSIGN(const Symbol part, rules_of_json_schema(source["schema"].dump(), rules));

  Regular& r = rules.regular;
  const Re anything = Regular::kEverything, gap = r.optional(r.set(bytes_of(" \n")));
  const auto holds = [&](Re what) { return r.sequence(std::vector{anything, what, anything}); };
  Re around, opening;  // text without a part; what comes before one
  if (begin.empty()) {
    around = r.complement(r.sequence(
        std::vector{r.repeat(r.set(bytes_of(" \t\r\n")), 0, Regular::kForever), r.set(bytes_of("{[")), anything}));
    opening = Regular::kEmpty;
  } else {
    const Re tag = r.literal(begin);
    around = r.complement(holds(tag));
    // Texts that end with the first `begin` that they hold.
    ByteSet any;
    any.set();
    opening = free ? r.all_of({r.concat(anything, tag),
                               r.complement(r.sequence(std::vector{anything, tag, r.set(any), anything}))})
                   : tag;
  }
  VIBEE_ASSIGN(const Symbol before, rules.terminal(r.concat(opening, gap)));
  VIBEE_ASSIGN(const Symbol after, rules.terminal(r.concat(gap, r.literal(end))));
  VIBEE_ASSIGN(const Symbol rest, rules.terminal(free ? around : Regular::kEmpty));
  VIBEE_ASSIGN(const Symbol space, rules.terminal(gap));

  const Symbol root = rules.add("text"), behind = rules.add("behind a part");
  VIBEE_TRY(rules.alternative(root, {before, part, after, behind}));
  if (free) VIBEE_TRY(rules.alternative(root, {rest}));
  if (!several) {
    VIBEE_TRY(rules.alternative(behind, {space}));
  } else if (free) {
    VIBEE_TRY(rules.alternative(behind, {root}));
  } else {
    VIBEE_TRY(rules.alternative(behind, {space}));
    VIBEE_TRY(rules.alternative(behind, {space, root}));
  }
  return root;
}

}  // namespace vibee
