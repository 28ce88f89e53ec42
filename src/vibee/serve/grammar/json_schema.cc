// SPDX-License-Identifier: Apache-2.0
// One rule is made for each conjunction of schemas that is met, which is how recursive schemas end.
#include "vibee/serve/grammar/json_schema.h"

#include <map>

#include "vibee/serve/grammar/schema_scalars.h"

namespace vibee {
namespace {

constexpr size_t kMaxText = 4 << 20, kMaxProperties = 1000, kMaxPatterns = 4;
constexpr int kMaxNesting = 64;

bool nested_too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') ++i;
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    depth += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
    if (depth > 2 * kMaxNesting) return true;
  }
  return false;
}
class Schema : SchemaScalars {
 public:
  Schema(const Json& root, Rules& rules) : SchemaScalars(root, rules.regular), rules_(rules) {}

  Result<Symbol> value(const Conjunction& given) {
    VIBEE_ASSIGN(const auto expanded, expand(given));
    if (!expanded) return Symbol{true, Automata::kDead};
    const auto [known, fresh] = known_.emplace(*expanded, Symbol{});
    if (!fresh) return known->second;
    const Symbol rule = rules_.add(expanded->empty() ? "any value" : name_of(*expanded->front().schema));
    known->second = rule;
    if (++depth_ > kMaxNesting) return unsupported(*expanded->front().schema, "", "nesting of more than 64 schemas");
    if (const auto choice = choice_of(*expanded)) {
      for (const Conjunction& branch : *choice) {
        VIBEE_ASSIGN(const Symbol symbol, value(branch));
        VIBEE_TRY(rules_.alternative(rule, {symbol}));
      }
      const Item& item = *first_choice(*expanded);
      if (is_one_of(item)) VIBEE_TRY(refuse_overlaps(item, *choice));
    } else {
      VIBEE_TRY(write_value(rule, *expanded));
    }
    --depth_;
    return rule;
  }

 private:
  Status refuse_overlaps(const Item& item, const std::vector<Conjunction>& branches) {
    for (size_t i = 0; i < branches.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        VIBEE_ASSIGN(const bool apart, disjoint(branches[j], branches[i], 0));
        if (!apart)
          return unsupported(
              *item.schema, "oneOf",
              fmt::format("a choice whose branches {} and {} may share values (anyOf allows that)", j, i));
      }
    }
    return {};
  }

  /// Whether it can be proved that no value satisfies both.
  Result<bool> disjoint(const Conjunction& a, const Conjunction& b, int depth) {
    if (depth > 8) return false;
    VIBEE_ASSIGN(const auto left, expand(a));
    VIBEE_ASSIGN(const auto right, expand(b));
    if (!left || !right) return true;
    for (const bool swapped : {false, true}) {
      const auto choice = choice_of(swapped ? *right : *left);
      if (!choice) continue;
      for (const Conjunction& branch : *choice) {
        VIBEE_ASSIGN(const bool apart, disjoint(branch, swapped ? *left : *right, depth + 1));
        if (!apart) return false;
      }
      return true;
    }
    const auto values_left = candidates(*left), values_right = candidates(*right);
    if (values_left && values_right) {
      const auto common = [&](const Json* v) {
        return std::ranges::any_of(*values_right, [&](const Json* w) { return *v == *w; });
      };
      if (std::ranges::none_of(*values_left, common)) return true;
    }
    VIBEE_ASSIGN(const Re scalars_left, scalars(*left, true));
    VIBEE_ASSIGN(const Re scalars_right, scalars(*right, true));
    Automata shared(ByteSet().set());
    VIBEE_ASSIGN(const uint32_t state, shared.add(regular_, regular_.all_of({scalars_left, scalars_right})));
    if (state != Automata::kDead) return false;
    const uint32_t types = types_of(*left) & types_of(*right);
    if (types & array) return false;
    if (!(types & object)) return true;
    std::set<std::string> names;
    for (const auto& side : {*left, *right})
      for (const std::string& name : required_of(side)) names.insert(name);
    for (const std::string& name : names) {
      // A name that one side demands must be apart, or forbidden, on the other.
      VIBEE_ASSIGN(const Conjunction of_left, property(*left, name));
      VIBEE_ASSIGN(const Conjunction of_right, property(*right, name));
      VIBEE_ASSIGN(const bool apart, disjoint(of_left, of_right, depth + 1));
      if (apart) return true;
    }
    return false;
  }

  Result<Symbol> terminal(Re expression, const Conjunction& c) {
    auto made = rules_.terminal(expression);
    if (!made.ok()) return made.take_status().within(c.empty() ? "/" : quote(name_of(*c.front().schema)));
    return made;
  }

  Status write_value(Symbol rule, const Conjunction& c) {
    VIBEE_ASSIGN(Re flat, scalars(c));
    const auto values = candidates(c);
    const uint32_t types = types_of(c);
    if (values) {
      for (const Json* v : *values) {
        if (!v->is_structured() || !(types & type_of(*v))) continue;
        for (const Item& item : c)
          for (auto i = item.schema->begin(); i != item.schema->end(); ++i)
            if (i.key().ends_with("Items") || i.key() == "items" || i.key().ends_with("roperties") ||
                i.key() == "required" || i.key() == "propertyNames")
              return unsupported(*item.schema, i.key(), "the keyword beside objects or arrays in enum or const");
        flat = regular_.any_of({flat, text_of(*v)});
      }
    }
    VIBEE_ASSIGN(const Symbol symbol, terminal(flat, c));
    VIBEE_TRY(rules_.alternative(rule, {symbol}));
    if (values) return {};
    if (types & array) VIBEE_TRY(write_array(rule, c));
    if (types & object) VIBEE_TRY(write_object(rule, c));
    return {};
  }

  static void count(const Conjunction& c, const char* least_key, const char* most_key, uint64_t* least,
                    uint64_t* most) {
    for (const Item& item : c) {
      if (const Json* v = find(*item.schema, least_key)) *least = std::max(*least, uint64_t(v->get<double>()));
      if (const Json* v = find(*item.schema, most_key)) *most = std::min(*most, uint64_t(v->get<double>()));
    }
  }

  // -- arrays

  Status write_array(Symbol rule, const Conjunction& c) {
    uint64_t least = 0, most = Regular::kForever;
    count(c, "minItems", "maxItems", &least, &most);
    uint64_t listed = 0;  // elements with schemas of their own
    for (const Item& item : c)
      for (const char* key : {"prefixItems", "items"})
        if (const Json* v = find(*item.schema, key); v && v->is_array()) listed = std::max<uint64_t>(listed, v->size());
    const auto element = [&](uint64_t i) -> Result<Symbol> {
      Conjunction of;
      for (const Item& item : c) {
        const Json *items = find(*item.schema, "items"), *prefix = find(*item.schema, "prefixItems");
        const Json* rest = items;
        if (items && items->is_array()) {
          prefix = items;
          rest = find(*item.schema, "additionalItems");
        }
        if (prefix && i < prefix->size())
          of.push_back({&(*prefix)[size_t(i)]});
        else if (rest)
          of.push_back({rest});
      }
      return value(of);
    };
    const std::string name = c.empty() ? "any array" : name_of(*c.front().schema);
    VIBEE_ASSIGN(const Symbol open, terminal(regular_.literal("["), c));
    VIBEE_ASSIGN(const Symbol close, terminal(regular_.literal("]"), c));
    VIBEE_ASSIGN(const Symbol comma, terminal(comma_, c));
    // behind[i]: after i + 1 elements. From `steady` on all are alike.
    const uint64_t steady = most == Regular::kForever ? std::max<uint64_t>({least, listed, 1}) : most;
    if (least == 0) VIBEE_TRY(rules_.alternative(rule, {open, close}));
    if (most == 0 || least > most) return {};
    Symbol behind = rules_.add(name);
    VIBEE_ASSIGN(Symbol first, element(0));
    VIBEE_TRY(rules_.alternative(rule, {open, first, behind}));
    for (uint64_t i = 1;; ++i) {
      if (i >= least) VIBEE_TRY(rules_.alternative(behind, {close}));
      if (i == most) return {};
      VIBEE_ASSIGN(const Symbol next, element(i));
      const Symbol then = i == steady ? behind : rules_.add(name);
      VIBEE_TRY(rules_.alternative(behind, {comma, next, then}));
      if (i == steady) return {};
      behind = then;
    }
  }

  // -- objects

  static std::vector<std::string> required_of(const Conjunction& c) {
    std::vector<std::string> out;
    for (const Item& item : c)
      if (const Json* names = find(*item.schema, "required"))
        for (const Json& n : *names)
          if (std::ranges::find(out, n.get<std::string>()) == out.end()) out.push_back(n.get<std::string>());
    return out;
  }

  /// Keys, between quotes, that a pattern matches.
  Result<Re> keys_of(const Json& schema, const std::string& pattern) {
    auto parsed = parse_regex(regular_, pattern, json_char, true);
    if (!parsed.ok()) return at(parsed.status().code(), schema, "patternProperties", parsed.status().message());
    return *parsed;
  }
  /// Whether the only text of `literal` is one of `keys`.
  Result<bool> matches(Re literal, Re keys) {
    Automata both(ByteSet().set());
    VIBEE_ASSIGN(const uint32_t state, both.add(regular_, regular_.all_of({literal, keys})));
    return state != Automata::kDead;
  }

  /// What the value of a property has to satisfy.
  Result<Conjunction> property(const Conjunction& c, const std::string& name) {
    Conjunction out;
    const Re literal = json_literal(regular_, name);
    for (const Item& item : c) {
      bool named = false;
      if (const Json* properties = find(*item.schema, "properties")) {
        if (const Json* of = find(*properties, name)) {
          out.push_back({of});
          named = true;
        }
      }
      if (const Json* patterns = find(*item.schema, "patternProperties")) {
        for (auto i = patterns->begin(); i != patterns->end(); ++i) {
          VIBEE_ASSIGN(const Re keys, keys_of(*item.schema, i.key()));
          VIBEE_ASSIGN(const bool match, matches(literal, keys));
          if (!match) continue;
          out.push_back({&*i});
          named = true;
        }
      }
      if (const Json* additional = find(*item.schema, "additionalProperties"); additional && !named)
        out.push_back({additional});
    }
    return out;
  }

  /// Keys that propertyNames allows.
  Result<Re> allowed_keys(const Conjunction& c) {
    Conjunction names;
    for (const Item& item : c)
      if (const Json* v = find(*item.schema, "propertyNames")) names.push_back({v});
    VIBEE_ASSIGN(const auto expanded, expand(names));
    if (!expanded) return Regular::kNothing;
    if (const Item* choice = first_choice(*expanded))
      return unsupported(*choice->schema, "", "a choice of propertyNames");
    if (!(types_of(*expanded) & string)) return Regular::kNothing;
    VIBEE_ASSIGN(Re keys, string_of(*expanded));
    if (const auto values = candidates(*expanded)) {
      std::vector<Re> texts;
      for (const Json* v : *values)
        if (v->is_string()) texts.push_back(json_literal(regular_, v->get_ref<const std::string&>()));
      keys = regular_.all_of({keys, regular_.any_of(std::move(texts))});
    }
    return keys;
  }

  struct Member {
    Symbol key, key_behind_comma, value;
    bool required = false;
  };
  Result<Member> member(Re key, const Conjunction& of, const Conjunction& c) {
    Member out;
    VIBEE_ASSIGN(out.key, terminal(key, c));
    VIBEE_ASSIGN(out.key_behind_comma, terminal(regular_.concat(comma_, key), c));
    VIBEE_ASSIGN(out.value, value(of));
    return out;
  }

  /// Properties that are not named, by which patterns their keys match.
  Status additional_members(const Conjunction& c, const std::vector<Re>& named, Re allowed, std::vector<Member>* out) {
    struct Pattern {
      const Json* owner;
      const Json* of;
      Re keys;
    };
    std::vector<Pattern> patterns;
    for (const Item& item : c) {
      const Json* all_patterns = find(*item.schema, "patternProperties");
      for (auto i = all_patterns ? all_patterns->begin() : Json::const_iterator();
           all_patterns && i != all_patterns->end(); ++i) {
        if (patterns.size() == kMaxPatterns)
          return unsupported(*item.schema, "patternProperties", "more than 4 patterns");
        VIBEE_ASSIGN(const Re keys, keys_of(*item.schema, i.key()));
        patterns.push_back({item.schema, &*i, keys});
      }
    }
    const Re others = regular_.complement(regular_.any_of(named));
    for (uint32_t chosen = 0; chosen < 1u << patterns.size(); ++chosen) {
      std::vector<Re> keys = {allowed, others};
      Conjunction of;
      std::set<const Json*> owners;
      for (size_t i = 0; i < patterns.size(); ++i) {
        const bool in = chosen >> i & 1;
        keys.push_back(in ? patterns[i].keys : regular_.complement(patterns[i].keys));
        if (!in) continue;
        of.push_back({patterns[i].of});
        owners.insert(patterns[i].owner);
      }
      for (const Item& item : c)
        if (const Json* v = find(*item.schema, "additionalProperties"); v && !owners.contains(item.schema))
          of.push_back({v});
      VIBEE_ASSIGN(const auto possible, expand(of));
      if (!possible) continue;
      const Re key = regular_.sequence(std::vector{quote_, regular_.all_of(std::move(keys)), quote_, colon_});
      VIBEE_ASSIGN(const Member made, member(key, of, c));
      if (made.key.id != Automata::kDead) out->push_back(made);
    }
    return {};
  }

  Status write_object(Symbol rule, const Conjunction& c) {
    uint64_t least = 0, most = Regular::kForever;
    count(c, "minProperties", "maxProperties", &least, &most);
    const std::vector<std::string> required = required_of(c);
    std::vector<std::string> names;
    const auto add = [&](const std::string& name) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    };
    for (const Item& item : c)
      if (const Json* properties = find(*item.schema, "properties"))
        for (auto i = properties->begin(); i != properties->end(); ++i) {
          add(i.key());
          if (names.size() > kMaxProperties)
            return unsupported(*item.schema, "properties", "more than 1000 properties");
        }
    for (const std::string& name : required) add(name);
    if (names.size() > kMaxProperties) return unsupported(*c.front().schema, "required", "more than 1000 properties");

    VIBEE_ASSIGN(const Re allowed, allowed_keys(c));
    std::vector<Member> members, others;
    std::vector<Re> literals;
    for (const std::string& name : names) {
      literals.push_back(json_literal(regular_, name));
      VIBEE_ASSIGN(const Conjunction of, property(c, name));
      VIBEE_ASSIGN(
          Member made,
          member(regular_.sequence(std::vector{quote_, regular_.all_of({literals.back(), allowed}), quote_, colon_}),
                 of, c));
      made.required = std::ranges::find(required, name) != required.end();
      members.push_back(made);
    }
    VIBEE_TRY(additional_members(c, literals, allowed, &others));
    if (!others.empty() && least > required.size() + 1)
      return unsupported(*c.front().schema, "minProperties", "counting properties that are not named");

    // of[n]: what may follow n members, once all named ones were passed; the last one also for more. Other keys may
    // come twice, so all of them together count as one towards the least.
    const std::string name = c.empty() ? "any object" : name_of(*c.front().schema);
    const uint64_t counted = most == Regular::kForever ? std::max<uint64_t>(least, 1) : most;
    const uint64_t steps = std::min<uint64_t>(members.size(), counted);
    VIBEE_ASSIGN(const Symbol open, terminal(regular_.literal("{"), c));
    VIBEE_ASSIGN(const Symbol close, terminal(regular_.literal("}"), c));
    std::vector<Symbol> of;
    for (uint64_t n = 0; n <= steps; ++n) {
      of.push_back(rules_.add(name));
      if (n >= least) VIBEE_TRY(rules_.alternative(of[n], {close}));
      if (others.empty() || n >= most) continue;
      Symbol after = rules_.add(name);  // at least one other
      VIBEE_TRY(other_member(of[n], others, n > 0, after));
      for (uint64_t total = n + 1;; ++total) {
        if (n + 1 >= least) VIBEE_TRY(rules_.alternative(after, {close}));
        if (total >= most) break;
        const Symbol then = most == Regular::kForever ? after : rules_.add(name);
        VIBEE_TRY(other_member(after, others, true, then));
        if (most == Regular::kForever) break;
        after = then;
      }
    }
    for (size_t i = members.size(); i-- > 0;) {
      std::vector<Symbol> here;
      for (uint64_t n = 0; n <= std::min<uint64_t>(i, steps); ++n) {
        here.push_back(rules_.add(name));
        const Member& m = members[i];
        if (n < most)
          VIBEE_TRY(
              rules_.alternative(here[n], {n > 0 ? m.key_behind_comma : m.key, m.value, of[std::min(n + 1, steps)]}));
        if (!m.required) VIBEE_TRY(rules_.alternative(here[n], {of[n]}));
      }
      of = std::move(here);
    }
    return rules_.alternative(rule, {open, of[0]});
  }

  Status other_member(Symbol from, const std::vector<Member>& others, bool comma, Symbol to) {
    for (const Member& m : others)
      VIBEE_TRY(rules_.alternative(from, {comma ? m.key_behind_comma : m.key, m.value, to}));
    return {};
  }

  Rules& rules_;
  std::map<Conjunction, Symbol> known_;
  int depth_ = 0;
};

}  // namespace

Result<Symbol> rules_of_json_schema(std::string_view text, Rules& rules) {
  if (text.size() > kMaxText) return error(Code::unsupported, "more than 4 MiB of text is not supported");
  if (nested_too_deep(text))
    return error(Code::unsupported, "JSON nested more than {} deep is not supported", 2 * kMaxNesting);
  const SchemaJson root = SchemaJson::parse(text, nullptr, false);
  if (root.is_discarded()) return error(Code::invalid, "is not JSON");
  return Schema(root, rules).value({{&root}});
}

}  // namespace vibee
