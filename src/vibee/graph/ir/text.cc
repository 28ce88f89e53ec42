// SPDX-License-Identifier: Apache-2.0
// The text form of a graph: one node a line,
//   graph llama {
//     %0:i32[T] = input {name="tokens"}
//     %7:f32[T,576] = rms_norm(%5, %6) {eps=1e-05}
//     return %7
//   }
// The parser takes hostile text: sizes are checked, values are numbered densely in order, types must be those inferred.
#include <charconv>
#include <cmath>

#include "vibee/graph/ir/ir.h"

namespace vibee {
namespace {

std::string quote(std::string_view s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Graph> run() {
    Graph g;
    VIBEE_TRY(word("graph"));
    VIBEE_ASSIGN(g.name, name());
    VIBEE_TRY(symbol('{'));
    std::vector<size_t> starts;  // of the nodes, for errors of the verifier
    while (!peek_word("return")) {
      starts.push_back(at_);
      VIBEE_TRY(node(&g));
    }
    VIBEE_TRY(word("return"));
    do {
      VIBEE_ASSIGN(const ValueId id, value_id());
      if (id >= g.values.size()) return here(fmt::format("%{} is not defined", id));
      g.outputs.push_back(id);
    } while (accept(','));
    VIBEE_TRY(symbol('}'));
    skip();
    if (at_ != text_.size()) return here("text after the graph's end");
    size_t bad = 0;
    const Status status = verify(g, &bad);
    if (!status.ok()) {
      if (bad < starts.size()) at_ = starts[bad];
      return here(status.message());
    }
    return g;
  }

 private:
  Status here(std::string_view what) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at_ && i < text_.size(); ++i) column = text_[i] == '\n' ? (++line, 1) : column + 1;
    return error(Code::invalid, "graph text, line {}, column {}: {}", line, column, what);
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status symbol(char c) { return accept(c) ? Status() : here(fmt::format("expected '{}'", c)); }
  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  }
  std::string_view peek_name() {
    skip();
    size_t end = at_;
    while (end < text_.size() && is_name(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  bool peek_word(std::string_view w) { return peek_name() == w; }
  Status word(std::string_view w) {
    if (!peek_word(w)) return here(fmt::format("expected '{}'", w));
    at_ += w.size();
    return {};
  }
  Result<std::string> name() {
    const std::string_view n = peek_name();
    if (n.empty()) return here("expected a name");
    at_ += n.size();
    return std::string(n);
  }
  Result<int64_t> integer() {
    skip();
    int64_t v = 0;
    const auto [end, err] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), v);
    if (err != std::errc()) return here("expected a whole number");
    at_ = size_t(end - text_.data());
    return v;
  }
  Result<ValueId> value_id() {
    VIBEE_TRY(symbol('%'));
    VIBEE_ASSIGN(const int64_t id, integer());
    if (id < 0 || id > INT32_MAX) return here("value number out of range");
    return ValueId(id);
  }
  Result<Type> type() {
    VIBEE_ASSIGN(const std::string n, name());
    Type t;
    if (n == "state") return Type{kState, {}};
    if (n == "i32") {
      t.elem = kI32;
    } else if (const auto quantized = find_quantized(n)) {
      t.elem = *quantized;
    } else if (n == "bits1" || n == "bits2" || n == "bits4" || n == "bits8") {
      t.elem = {Elem::compressed, Format::f32, uint8_t(n.back() - '0')};
    } else {
      auto format = parse_format(n);
      if (!format.ok()) return here(fmt::format("unknown element type '{}'", n));
      t.elem = {Elem::stored, *format};
    }
    VIBEE_TRY(symbol('['));
    do {
      Dim d;
      skip();
      if (accept('T')) {
        d = kRows;
      } else if (accept('S')) {
        d = kLogitsRows;
      }
      if (d.symbol == 0 || accept('*')) {
        VIBEE_ASSIGN(d.n, integer());
      }
      if (d.n <= 0 || d.n > kMaxDim) return here(fmt::format("size {} out of range", d.n));
      t.dims.push_back(d);
      if (t.dims.size() > 3) return here("more than three sizes");
    } while (accept(','));
    VIBEE_TRY(symbol(']'));
    const Status status = check_type(t);
    return status.ok() ? Result<Type>(std::move(t)) : here(status.message());
  }
  Result<Attr> attr() {
    skip();
    if (accept('"')) {
      std::string s;
      while (at_ < text_.size() && text_[at_] != '"') {
        char c = text_[at_++];
        if (c == '\\' && at_ < text_.size()) {
          c = text_[at_++];
          if (c == 'n') c = '\n';
        }
        s += c;
      }
      VIBEE_TRY(symbol('"'));
      return Attr(std::move(s));
    }
    size_t end = at_;
    while (end < text_.size() && (is_name(text_[end]) || text_[end] == '-' || text_[end] == '+' || text_[end] == '.'))
      ++end;
    const std::string_view token = text_.substr(at_, end - at_);
    int64_t i = 0;
    if (auto [p, err] = std::from_chars(token.data(), token.data() + token.size(), i);
        err == std::errc() && p == token.data() + token.size()) {
      at_ = end;
      return Attr(i);
    }
    double x = 0;
    if (auto [p, err] = std::from_chars(token.data(), token.data() + token.size(), x);
        err == std::errc() && p == token.data() + token.size()) {
      at_ = end;
      return Attr(x);
    }
    return here("expected a number or a string");
  }
  Status node(Graph* g) {
    const size_t start = at_;
    const auto whole = [&](std::string_view what) {  // errors about the node, not about its last word
      at_ = start;
      return here(what);
    };
    std::vector<Type> types;
    do {
      VIBEE_ASSIGN(const ValueId id, value_id());
      if (id != g->values.size() + types.size())
        return here(fmt::format("values are numbered in order; expected %{}", g->values.size() + types.size()));
      VIBEE_TRY(symbol(':'));
      VIBEE_ASSIGN(Type t, type());
      types.push_back(std::move(t));
      if (types.size() > 4) return here("more than four outputs");
    } while (accept(','));
    VIBEE_TRY(symbol('='));
    VIBEE_ASSIGN(const std::string op_name, name());
    const OpInfo* op = find_op(op_name);
    if (op == nullptr) return here(fmt::format("unknown op '{}'", op_name));
    std::vector<ValueId> in;
    if (accept('(')) {
      do {
        VIBEE_ASSIGN(const ValueId id, value_id());
        in.push_back(id);
        if (in.size() > 8) return here("more than eight inputs");
      } while (accept(','));
      VIBEE_TRY(symbol(')'));
    }
    Attrs attrs;
    if (accept('{')) {
      do {
        VIBEE_ASSIGN(std::string key, name());
        VIBEE_TRY(symbol('='));
        VIBEE_ASSIGN(Attr value, attr());
        attrs.emplace_back(std::move(key), std::move(value));
        if (attrs.size() > 16) return here("more than sixteen attributes");
      } while (accept(','));
      VIBEE_TRY(symbol('}'));
    }
    if (op->level == OpLevel::source) {
      if (types.size() != 1 || !in.empty()) return whole("a source has one output and no inputs");
      g->source(op->op, std::move(types[0]), std::move(attrs));
      return {};
    }
    const size_t first = g->values.size();
    g->add(op->op, std::move(in), std::move(attrs));
    if (!g->status().ok()) return whole(g->status().message());
    if (g->values.size() - first != types.size())
      return whole(fmt::format("{} has {} outputs", op_name, g->values.size() - first));
    for (size_t i = 0; i < types.size(); ++i)
      if (g->values[first + i].type != types[i])
        return whole(fmt::format("%{} is declared {}, inferred {}", first + i, to_string(types[i]),
                                 to_string(g->values[first + i].type)));
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string print(const Graph& g) {
  std::string out = "graph " + (g.name.empty() ? std::string("g") : g.name) + " {\n";
  for (const Node& node : g.nodes) {
    out += "  ";
    for (size_t i = 0; i < node.out.size(); ++i)
      out += fmt::format("{}%{}:{}", i ? ", " : "", node.out[i], to_string(g.type(node.out[i])));
    out += fmt::format(" = {}", info(node.op).name);
    for (size_t i = 0; i < node.in.size(); ++i) out += fmt::format("{}%{}", i ? ", " : "(", node.in[i]);
    if (!node.in.empty()) out += ')';
    for (size_t i = 0; i < node.attrs.size(); ++i) {
      const auto& [key, value] = node.attrs[i];
      out += fmt::format("{}{}=", i ? ", " : " {", key);
      if (const auto* n = std::get_if<int64_t>(&value)) {
        out += std::to_string(*n);
      } else if (const auto* x = std::get_if<double>(&value)) {
        std::string s = fmt::format("{}", *x);  // shortest text that reads back exactly
        if (s.find_first_of(".eni") == std::string::npos) s += ".0";
        out += s;
      } else {
        out += quote(std::get<std::string>(value));
      }
    }
    out += node.attrs.empty() ? "\n" : "}\n";
  }
  out += "  return ";
  for (size_t i = 0; i < g.outputs.size(); ++i) out += fmt::format("{}%{}", i ? ", " : "", g.outputs[i]);
  return out + "\n}\n";
}

Result<Graph> parse_graph(std::string_view text) { return Parser(text).run(); }

}  // namespace vibee
