// SPDX-License-Identifier: Apache-2.0
// The statements of the template language.
#include "vibee/model/token/template_parser.h"

#include "vibee/model/token/template_expression.h"

namespace vibee {
namespace {

class Parser : public TemplateExpressionParser {
 public:
  explicit Parser(std::vector<TemplateToken> tokens) : TemplateExpressionParser(std::move(tokens)) {}

  Result<TemplateNodePtr> run() {
    Node root = make(Op::scope);
    VIBEE_ASSIGN(Nodes body, statements({}));
    root->bodies.push_back(std::move(body));
    return root;
  }

 private:
  using Nodes = std::vector<TemplateNodePtr>;

  Result<Nodes> statements(std::initializer_list<std::string_view> ends) {
    const Descent descent(&depth_);
    if (depth_ > kMaxDescent) return fail("too deeply nested");
    Nodes out;
    for (;;) {
      if (now().type == Token::text) {
        out.push_back(make(Op::data, now().value));
        step();
      } else if (now().type == Token::print_begin) {
        Node print = make(Op::print);
        step();
        VIBEE_ASSIGN(Node value, tuple_or_expression());
        VIBEE_TRY(adopt(print, std::move(value)));
        if (now().type != Token::print_end) return fail(fmt::format("'}}}}' expected before '{}'", shown()));
        step();
        out.push_back(std::move(print));
      } else if (now().type == Token::block_begin) {
        if (ahead().type == Token::name && std::find(ends.begin(), ends.end(), ahead().value) != ends.end()) {
          step();
          return out;
        }
        step();
        VIBEE_ASSIGN(Node node, statement());
        if (now().type != Token::block_end) return fail(fmt::format("'%}}' expected before '{}'", shown()));
        step();
        out.push_back(std::move(node));
      } else if (ends.size() == 0) {
        return out;
      } else {
        return fail(fmt::format("the template ends inside a block: '{}' is missing", *(ends.end() - 1)));
      }
    }
  }

  /// A body up to one of `ends`, whose tag is entered but whose name is left for the caller.
  Result<Nodes> body(std::initializer_list<std::string_view> ends) {
    skip_op(":");
    if (now().type != Token::block_end) return fail(fmt::format("'%}}' expected before '{}'", shown()));
    step();
    return statements(ends);
  }

  Result<Node> statement() {
    if (now().type != Token::name) return fail(fmt::format("a statement expected before '{}'", shown()));
    const std::string name = now().value;
    if (name == "for") return for_loop();
    if (name == "if") return branch();
    if (name == "set") return assignment();
    if (name == "macro") return macro();
    if (name == "call") return call_block();
    if (name == "filter") return filter_block();
    if (name == "with") return with();
    if (name == "generation") return enclosed(Op::scope, "endgeneration");
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return fail(fmt::format("'{}' stands outside of a loop", name));
      Node node = make(name == "break" ? Op::loop_break : Op::loop_continue);
      step();
      return node;
    }
    return fail(fmt::format(
        "statement '{}' is not known; known are for, if, set, macro, call, filter, with, generation, break, continue",
        name.substr(0, 40)));
  }

  Result<Node> enclosed(Op op, std::string_view end) {
    Node node = make(op);
    step();
    VIBEE_ASSIGN(Nodes inner, body({end}));
    VIBEE_TRY(adopt_body(node, std::move(inner)));
    step();
    return node;
  }

  Result<Node> for_loop() {
    Node node = make(Op::loop);
    step();
    VIBEE_ASSIGN(Node target, assign_target("in"));
    VIBEE_TRY(adopt(node, std::move(target)));
    VIBEE_TRY(expect_name("in"));
    VIBEE_ASSIGN(Node over, tuple_or_expression(false));
    VIBEE_TRY(adopt(node, std::move(over)));
    Node condition;
    if (skip_name("if")) {
      VIBEE_ASSIGN(condition, expression());
    }
    VIBEE_TRY(adopt(node, std::move(condition)));
    if (is_name("recursive")) return fail("recursive loops are not supported: use a macro");
    ++loops_;
    VIBEE_ASSIGN(Nodes inner, body({"else", "endfor"}));
    --loops_;
    VIBEE_TRY(adopt_body(node, std::move(inner)));
    if (skip_name("else")) {
      VIBEE_ASSIGN(Nodes otherwise, body({"endfor"}));
      VIBEE_TRY(adopt_body(node, std::move(otherwise)));
    }
    step();
    return node;
  }

  Result<Node> branch() {
    Node node = make(Op::branch);
    do {
      step();  // if, elif
      VIBEE_ASSIGN(Node condition, tuple_or_expression(false));
      VIBEE_TRY(adopt(node, std::move(condition)));
      VIBEE_ASSIGN(Nodes inner, body({"elif", "else", "endif"}));
      VIBEE_TRY(adopt_body(node, std::move(inner)));
    } while (is_name("elif"));
    if (skip_name("else")) {
      VIBEE_ASSIGN(Nodes inner, body({"endif"}));
      VIBEE_TRY(adopt_body(node, std::move(inner)));
    }
    step();
    return node;
  }

  Result<Node> assignment() {
    Node node = make(Op::assign);
    step();
    VIBEE_ASSIGN(Node target, assign_target("", true));
    VIBEE_TRY(adopt(node, std::move(target)));
    if (skip_op("=")) {
      VIBEE_ASSIGN(Node value, tuple_or_expression());
      VIBEE_TRY(adopt(node, std::move(value)));
      return node;
    }
    node->op = Op::assign_block;
    Node filters;
    if (is_op("|")) {
      VIBEE_ASSIGN(filters, filter_chain(nullptr));
    }
    VIBEE_TRY(adopt(node, std::move(filters)));
    VIBEE_ASSIGN(Nodes inner, body({"endset"}));
    VIBEE_TRY(adopt_body(node, std::move(inner)));
    step();
    return node;
  }

  /// ( a, b=default ) of a macro or of a call block.
  Status signature(const Node& node) {
    VIBEE_TRY(expect_op("("));
    while (!is_op(")")) {
      if (!node->kids.empty()) VIBEE_TRY(expect_op(","));
      if (is_op(")")) break;
      Node parameter = make(Op::name);
      VIBEE_ASSIGN(parameter->text, identifier());
      VIBEE_TRY(adopt(node, std::move(parameter)));
      if (skip_op("=")) {
        VIBEE_ASSIGN(Node fallback, expression());
        VIBEE_TRY(deepen(node, fallback->depth));
        node->defaults.push_back(std::move(fallback));
      } else if (!node->defaults.empty()) {
        return fail("a parameter without a default follows one with a default");
      }
    }
    return expect_op(")");
  }

  Result<Node> macro() {
    Node node = make(Op::macro);
    step();
    VIBEE_ASSIGN(node->text, identifier());
    VIBEE_TRY(signature(node));
    VIBEE_TRY(macro_body(node, "endmacro"));
    step();
    return node;
  }

  Result<Node> call_block() {
    Node node = make(Op::call_block);
    Node caller = make(Op::macro, "caller");
    step();
    if (is_op("(")) VIBEE_TRY(signature(caller));
    VIBEE_ASSIGN(Node call, expression());
    if (call->op != Op::call) return fail("a call block needs a call, as in {% call name(...) %}");
    VIBEE_TRY(adopt(node, std::move(call)));
    VIBEE_TRY(macro_body(caller, "endcall"));
    VIBEE_TRY(adopt(node, std::move(caller)));
    step();
    return node;
  }

  /// A body that is a function of its own: no loop of the outside to break, and it is noted which special names it
  /// uses.
  Status macro_body(const Node& node, std::string_view end) {
    const uint32_t loops = std::exchange(loops_, 0);
    const uint32_t specials = std::exchange(specials_, 0);
    VIBEE_ASSIGN(Nodes inner, body({end}));
    node->specials = specials_;
    loops_ = loops;
    specials_ |= specials;
    return adopt_body(node, std::move(inner));
  }

  Result<Node> filter_block() {
    Node node = make(Op::filter_block);
    step();
    VIBEE_ASSIGN(Node filters, filter_chain(nullptr, true));
    VIBEE_TRY(adopt(node, std::move(filters)));
    VIBEE_ASSIGN(Nodes inner, body({"endfilter"}));
    VIBEE_TRY(adopt_body(node, std::move(inner)));
    step();
    return node;
  }

  Result<Node> with() {
    Node node = make(Op::with);
    step();
    while (now().type == Token::name || is_op(",")) {
      if (!node->kids.empty()) VIBEE_TRY(expect_op(","));
      VIBEE_ASSIGN(Node target, assign_target("="));
      VIBEE_TRY(adopt(node, std::move(target)));
      VIBEE_TRY(expect_op("="));
      VIBEE_ASSIGN(Node value, expression());
      VIBEE_TRY(adopt(node, std::move(value)));
    }
    VIBEE_ASSIGN(Nodes inner, body({"endwith"}));
    VIBEE_TRY(adopt_body(node, std::move(inner)));
    step();
    return node;
  }

  /// A name, names with commas between, or where `spaces` name.attribute.
  Result<Node> assign_target(std::string_view end, bool spaces = false) {
    Node all = make(Op::tuple);
    bool comma = false;
    for (;;) {
      const bool group = skip_op("(");
      Node one = make(Op::name);
      if (group) {
        VIBEE_ASSIGN(one, guarded([&] { return assign_target(")"); }));
        VIBEE_TRY(expect_op(")"));
      } else {
        VIBEE_ASSIGN(one->text, identifier());
        if (one_of(one->text, {"true", "True", "false", "False", "none", "None"}))
          return fail("a constant cannot be assigned to");
        if (spaces && skip_op(".")) {
          one->op = Op::space_name;
          VIBEE_ASSIGN(std::string field, identifier());
          one->texts.push_back(std::move(field));
        }
      }
      VIBEE_TRY(adopt(all, std::move(one)));
      if (!skip_op(",")) break;
      comma = true;
      if (is_op("=") || (!end.empty() && (is_name(end) || is_op(end)))) break;
    }
    if (!comma) return std::move(all->kids[0]);
    return all;
  }

  uint32_t loops_ = 0;
};

}  // namespace

Result<TemplateNodePtr> parse_template(std::string_view source) {
  VIBEE_ASSIGN(std::vector<TemplateToken> tokens, lex_template(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace vibee
