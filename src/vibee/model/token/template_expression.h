// SPDX-License-Identifier: Apache-2.0
// The half of the template parser that reads expressions; template_parser.cc builds the statements on it. Depth is
// bounded twice: while descending, and in the tree itself, which chains of operators deepen to the left.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "vibee/model/token/template_parser.h"

namespace vibee {

class TemplateExpressionParser {
 protected:
  static bool one_of(std::string_view text, std::initializer_list<std::string_view> choices) {
    return std::find(choices.begin(), choices.end(), text) != choices.end();
  }
  using Op = TemplateOp;
  using Token = TemplateToken;
  using Node = TemplateNodePtr;
  static constexpr uint32_t kMaxDescent = 100;
  static constexpr uint32_t kMaxTreeDepth = 200;

  explicit TemplateExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Tokens.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void step() { at_ += at_ + 1 < tokens_.size(); }
  bool is_op(std::string_view text) const { return now().type == Token::op && now().value == text; }
  bool is_name(std::string_view text) const { return now().type == Token::name && now().value == text; }
  bool skip_op(std::string_view text) { return is_op(text) && (step(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (step(), true); }
  std::string shown() const {
    switch (now().type) {
      case Token::block_end: return "%}";
      case Token::print_end: return "}}";
      case Token::end: return "the end of the template";
      default: return now().value.substr(0, 40);
    }
  }
  Status fail(std::string_view what) const {
    return error(Code::invalid, "chat template {}:{}: {}", now().line, now().column, what);
  }
  Status expect_op(std::string_view text) {
    return skip_op(text) ? Status() : fail(fmt::format("'{}' expected before '{}'", text, shown()));
  }
  Status expect_name(std::string_view text) {
    return skip_name(text) ? Status() : fail(fmt::format("'{}' expected before '{}'", text, shown()));
  }
  Result<std::string> identifier() {
    if (now().type != Token::name) return fail(fmt::format("a name expected before '{}'", shown()));
    std::string name = now().value;
    step();
    return name;
  }
  Result<std::string> dotted_name() {
    VIBEE_ASSIGN(std::string name, identifier());
    while (skip_op(".")) {
      VIBEE_ASSIGN(const std::string more, identifier());
      name += "." + more;
    }
    return name;
  }

  // Nodes.
  Node make(Op op, std::string text = {}) const {
    auto node = std::make_unique<TemplateNode>();
    node->op = op;
    node->line = now().line;
    node->column = now().column;
    node->text = std::move(text);
    return node;
  }
  /// Hangs `kid` (may be null) under `node`.
  Status adopt(const Node& node, Node kid) {
    if (kid != nullptr) VIBEE_TRY(deepen(node, kid->depth));
    node->kids.push_back(std::move(kid));
    return {};
  }
  Status deepen(const Node& node, uint32_t depth) {
    node->depth = std::max(node->depth, depth + 1);
    return node->depth > kMaxTreeDepth ? fail("too deeply nested") : Status();
  }
  Status adopt_body(const Node& node, std::vector<TemplateNodePtr> body) {
    for (const Node& statement : body) VIBEE_TRY(deepen(node, statement->depth));
    node->bodies.push_back(std::move(body));
    return {};
  }

  class Descent {
   public:
    explicit Descent(uint32_t* depth) : depth_(depth) { ++*depth_; }
    ~Descent() { --*depth_; }

   private:
    uint32_t* depth_;
  };

  // Expressions, loosest first.
  template <class Parse>
  Result<Node> guarded(Parse parse) {
    const Descent descent(&depth_);
    if (depth_ > kMaxDescent) return fail("too deeply nested");
    return parse();
  }

  Result<Node> tuple_or_expression(bool conditional = true, bool parentheses = false);
  Result<Node> expression();
  Result<Node> any_of();
  Result<Node> all_of();
  Result<Node> negation();
  Result<Node> comparison();
  Result<Node> sum();
  Result<Node> concatenation();
  Result<Node> product();
  Result<Node> power();
  Result<Node> unary(bool filters);
  Result<Node> primary();
  Result<Node> list();
  Result<Node> dict();
  Result<Node> postfix(Node node);
  Result<Node> subscript();
  Result<Node> call(Node callee);
  Status arguments(const Node& node);
  /// | name(...) | name(...); with `bare` the first stands without its bar.
  Result<Node> filter_chain(Node node, bool bare = false);
  Result<Node> test(Node operand);

  /// *left = *left (the operator that stands here) right.
  template <class Parse>
  Status join(Op op, Node* left, Parse right) {
    Node node = make(op, now().value);
    step();
    VIBEE_ASSIGN(Node other, right());
    VIBEE_TRY(adopt(node, std::move(*left)));
    VIBEE_TRY(adopt(node, std::move(other)));
    *left = std::move(node);
    return {};
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  uint32_t depth_ = 0;
  uint32_t specials_ = 0;  // special names used since the macro around began
};

}  // namespace vibee
