// SPDX-License-Identifier: Apache-2.0
// Recursive descent, one function a level of precedence.
#include "vibee/model/token/template_expression.h"

namespace vibee {

Result<TemplateNodePtr> TemplateExpressionParser::tuple_or_expression(bool conditional, bool parentheses) {
  Node all = make(Op::tuple);
  bool comma = false;
  for (;;) {
    const bool ends = now().type == Token::block_end || now().type == Token::print_end || is_op(")");
    if (ends && (comma || parentheses)) break;
    VIBEE_ASSIGN(Node one, conditional ? expression() : guarded([&] { return any_of(); }));
    VIBEE_TRY(adopt(all, std::move(one)));
    if (!skip_op(",")) break;
    comma = true;
  }
  if (!comma && !all->kids.empty()) return std::move(all->kids[0]);
  return all;
}

Result<TemplateNodePtr> TemplateExpressionParser::expression() {
  return guarded([&]() -> Result<Node> {
    VIBEE_ASSIGN(Node value, any_of());
    while (is_name("if")) {
      Node node = make(Op::conditional);
      step();
      VIBEE_ASSIGN(Node condition, any_of());
      Node otherwise;
      if (skip_name("else")) {
        VIBEE_ASSIGN(otherwise, expression());
      }
      VIBEE_TRY(adopt(node, std::move(value)));
      VIBEE_TRY(adopt(node, std::move(condition)));
      VIBEE_TRY(adopt(node, std::move(otherwise)));
      value = std::move(node);
    }
    return value;
  });
}

Result<TemplateNodePtr> TemplateExpressionParser::any_of() {
  VIBEE_ASSIGN(Node left, all_of());
  while (is_name("or")) VIBEE_TRY(join(Op::logical_or, &left, [&] { return all_of(); }));
  return left;
}

Result<TemplateNodePtr> TemplateExpressionParser::all_of() {
  VIBEE_ASSIGN(Node left, negation());
  while (is_name("and")) VIBEE_TRY(join(Op::logical_and, &left, [&] { return negation(); }));
  return left;
}

Result<TemplateNodePtr> TemplateExpressionParser::negation() {
  if (!is_name("not")) return comparison();
  Node node = make(Op::logical_not);
  step();
  VIBEE_ASSIGN(Node operand, guarded([&] { return negation(); }));
  VIBEE_TRY(adopt(node, std::move(operand)));
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::comparison() {
  Node node = make(Op::compare);
  VIBEE_ASSIGN(Node first, sum());
  for (;;) {
    std::string how;
    if (now().type == Token::op && one_of(now().value, {"==", "!=", "<", "<=", ">", ">="})) {
      how = now().value;
    } else if (is_name("in")) {
      how = "in";
    } else if (is_name("not") && ahead().type == Token::name && ahead().value == "in") {
      how = "not in";
      step();
    } else {
      break;
    }
    step();
    if (node->kids.empty()) VIBEE_TRY(adopt(node, std::move(first)));
    VIBEE_ASSIGN(Node next, sum());
    VIBEE_TRY(adopt(node, std::move(next)));
    node->texts.push_back(std::move(how));
  }
  if (node->kids.empty()) return first;
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::sum() {
  VIBEE_ASSIGN(Node left, concatenation());
  while (is_op("+") || is_op("-")) VIBEE_TRY(join(Op::binary, &left, [&] { return concatenation(); }));
  return left;
}

Result<TemplateNodePtr> TemplateExpressionParser::concatenation() {
  Node node = make(Op::concat);
  VIBEE_ASSIGN(Node first, product());
  if (!is_op("~")) return first;
  VIBEE_TRY(adopt(node, std::move(first)));
  while (skip_op("~")) {
    VIBEE_ASSIGN(Node next, product());
    VIBEE_TRY(adopt(node, std::move(next)));
  }
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::product() {
  VIBEE_ASSIGN(Node left, power());
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%"))
    VIBEE_TRY(join(Op::binary, &left, [&] { return power(); }));
  return left;
}

Result<TemplateNodePtr> TemplateExpressionParser::power() {
  VIBEE_ASSIGN(Node left, unary(true));
  while (is_op("**")) VIBEE_TRY(join(Op::binary, &left, [&] { return unary(true); }));
  return left;
}

Result<TemplateNodePtr> TemplateExpressionParser::unary(bool filters) {
  Node node;
  if (is_op("-") || is_op("+")) {
    node = make(is_op("-") ? Op::negate : Op::plus);
    step();
    VIBEE_ASSIGN(Node operand, guarded([&] { return unary(false); }));
    VIBEE_TRY(adopt(node, std::move(operand)));
  } else {
    VIBEE_ASSIGN(node, primary());
  }
  VIBEE_ASSIGN(node, postfix(std::move(node)));
  while (filters) {
    if (is_op("|")) {
      VIBEE_ASSIGN(node, filter_chain(std::move(node)));
    } else if (is_name("is")) {
      VIBEE_ASSIGN(node, test(std::move(node)));
    } else if (is_op("(")) {
      VIBEE_ASSIGN(node, call(std::move(node)));
    } else {
      break;
    }
  }
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::primary() {
  const Token& token = now();
  Node node = make(Op::constant);
  switch (token.type) {
    case Token::name:
      if (one_of(token.value, {"true", "True", "false", "False"})) {
        node->value = TemplateValue::of(token.value == "true" || token.value == "True");
      } else if (one_of(token.value, {"none", "None"})) {
        node->value = TemplateValue::none();
      } else {
        node->op = Op::name;
        node->text = token.value;
        specials_ |= token.value == "varargs"  ? kUsesVarargs
                     : token.value == "kwargs" ? kUsesKwargs
                     : token.value == "caller" ? kUsesCaller
                                               : 0;
      }
      step();
      return node;
    case Token::string: {
      std::string all;
      for (; now().type == Token::string; step()) all += now().value;
      node->value = TemplateValue::of(std::move(all));
      return node;
    }
    case Token::integer: node->value = TemplateValue::of(token.whole); break;
    case Token::real: node->value = TemplateValue::of(token.number); break;
    default:
      if (skip_op("(")) {
        VIBEE_ASSIGN(node, guarded([&] { return tuple_or_expression(true, true); }));
        VIBEE_TRY(expect_op(")"));
        return node;
      }
      if (is_op("[") || is_op("{")) return guarded([&] { return is_op("[") ? list() : dict(); });
      return fail(fmt::format("a value expected before '{}'", shown()));
  }
  step();
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::list() {
  Node node = make(Op::list);
  step();
  while (!is_op("]")) {
    if (!node->kids.empty()) VIBEE_TRY(expect_op(","));
    if (is_op("]")) break;
    VIBEE_ASSIGN(Node one, expression());
    VIBEE_TRY(adopt(node, std::move(one)));
  }
  step();
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::dict() {
  Node node = make(Op::dict);
  step();
  while (!is_op("}")) {
    if (!node->kids.empty()) VIBEE_TRY(expect_op(","));
    if (is_op("}")) break;
    VIBEE_ASSIGN(Node key, expression());
    VIBEE_TRY(adopt(node, std::move(key)));
    VIBEE_TRY(expect_op(":"));
    VIBEE_ASSIGN(Node one, expression());
    VIBEE_TRY(adopt(node, std::move(one)));
  }
  step();
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::postfix(Node node) {
  for (;;) {
    if (is_op(".")) {
      Node next = make(Op::attribute);
      step();
      if (now().type == Token::integer) {
        next->op = Op::item;
        Node index = make(Op::constant);
        index->value = TemplateValue::of(now().whole);
        step();
        VIBEE_TRY(adopt(next, std::move(node)));
        VIBEE_TRY(adopt(next, std::move(index)));
      } else {
        VIBEE_ASSIGN(next->text, identifier());
        VIBEE_TRY(adopt(next, std::move(node)));
      }
      node = std::move(next);
    } else if (is_op("[")) {
      Node next = make(Op::item);
      step();
      VIBEE_TRY(adopt(next, std::move(node)));
      VIBEE_ASSIGN(Node index, guarded([&] { return subscript(); }));
      VIBEE_TRY(adopt(next, std::move(index)));
      VIBEE_TRY(expect_op("]"));
      node = std::move(next);
    } else if (is_op("(")) {
      VIBEE_ASSIGN(node, call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<TemplateNodePtr> TemplateExpressionParser::subscript() {
  Node slice = make(Op::slice);
  Node part;
  if (!is_op(":")) {
    VIBEE_ASSIGN(part, expression());
    if (!is_op(":")) return part;
  }
  VIBEE_TRY(adopt(slice, std::move(part)));
  for (int i = 0; i < 2; ++i) {
    Node next;
    if (skip_op(":") && !is_op(":") && !is_op("]")) {
      VIBEE_ASSIGN(next, expression());
    }
    VIBEE_TRY(adopt(slice, std::move(next)));
  }
  return slice;
}

Result<TemplateNodePtr> TemplateExpressionParser::call(Node callee) {
  Node node = make(Op::call);
  VIBEE_TRY(adopt(node, std::move(callee)));
  VIBEE_TRY(arguments(node));
  return node;
}

Status TemplateExpressionParser::arguments(const Node& node) {
  VIBEE_TRY(expect_op("("));
  while (!is_op(")")) {
    if (!node->arguments.empty()) VIBEE_TRY(expect_op(","));
    if (is_op(")")) break;
    TemplateArgument argument;
    if (skip_op("*")) {
      argument.kind = TemplateArgument::all_of;
    } else if (skip_op("**")) {
      argument.kind = TemplateArgument::all_named;
    } else if (now().type == Token::name && ahead().type == Token::op && ahead().value == "=") {
      argument.kind = TemplateArgument::named;
      argument.name = now().value;
      step();
      step();
    }
    const auto last = node->arguments.empty() ? TemplateArgument::plain : node->arguments.back().kind;
    if (argument.kind < last && !(argument.kind == TemplateArgument::named && last == TemplateArgument::all_of)) {
      return fail("a plain argument follows a named one");
    }
    VIBEE_ASSIGN(argument.value, expression());
    VIBEE_TRY(deepen(node, argument.value->depth));
    node->arguments.push_back(std::move(argument));
  }
  return expect_op(")");
}

Result<TemplateNodePtr> TemplateExpressionParser::filter_chain(Node node, bool bare) {
  while (bare || skip_op("|")) {
    bare = false;
    Node next = make(Op::filter);
    VIBEE_ASSIGN(next->text, dotted_name());
    VIBEE_TRY(adopt(next, std::move(node)));
    if (is_op("(")) VIBEE_TRY(arguments(next));
    node = std::move(next);
  }
  return node;
}

Result<TemplateNodePtr> TemplateExpressionParser::test(Node operand) {
  step();
  Node negated;
  if (is_name("not")) {
    negated = make(Op::logical_not);
    step();
  }
  Node node = make(Op::test);
  VIBEE_ASSIGN(node->text, dotted_name());
  VIBEE_TRY(adopt(node, std::move(operand)));
  const bool value = now().type == Token::string || now().type == Token::integer || now().type == Token::real ||
                     is_op("[") || is_op("{") ||
                     (now().type == Token::name && !one_of(now().value, {"else", "or", "and"}));
  if (is_op("(")) {
    VIBEE_TRY(arguments(node));
  } else if (value) {
    if (is_name("is")) return fail("tests cannot be chained with 'is'");
    TemplateArgument argument;
    VIBEE_ASSIGN(argument.value, primary());
    VIBEE_ASSIGN(argument.value, postfix(std::move(argument.value)));
    VIBEE_TRY(deepen(node, argument.value->depth));
    node->arguments.push_back(std::move(argument));
  }
  if (negated == nullptr) return node;
  VIBEE_TRY(adopt(negated, std::move(node)));
  return negated;
}

}  // namespace vibee
