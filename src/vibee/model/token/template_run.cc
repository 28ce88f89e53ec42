// SPDX-License-Identifier: Apache-2.0
// Statements, scopes and macros. A loop's body, a macro and a with block have scopes of their own; if has none (as in
// Jinja).
#include "vibee/model/token/template_run.h"

#include <algorithm>

namespace vibee {

using Op = TemplateOp;

/// One step deeper, for as long as it lives.
class TemplateInterpreter::Enter {
 public:
  Enter(TemplateInterpreter& in, const TemplateNode& node) : in_(in) {
    in.at_ = &node;
    if (++in.depth_ > in.limits_.depth)
      in.fail("nested more than {} deep: simplify the template or its recursion", in.limits_.depth);
    if (++in.steps_ > in.limits_.steps) in.fail("more than {} steps: the template loops too long", in.limits_.steps);
  }
  ~Enter() { --in_.depth_; }

 private:
  TemplateInterpreter& in_;
};

void TemplateInterpreter::fail_text(const std::string& what) {
  if (failed()) return;
  std::string line = what;
  std::replace(line.begin(), line.end(), '\n', ' ');
  status_ = error(Code::invalid, "chat template {}:{}: {}", at_ ? at_->line : 0, at_ ? at_->column : 0, line);
}

bool TemplateInterpreter::charge(uint64_t bytes) {
  if (failed()) return false;
  if (bytes > limits_.made_bytes - std::min(made_, limits_.made_bytes)) {
    fail("more than {} bytes of values: the template grows too much", limits_.made_bytes);
    return false;
  }
  made_ += bytes;
  steps_ += bytes / 256;
  return true;
}

TemplateValue TemplateInterpreter::made(TemplateValue container) {
  if (container.depth() > kMaxValueDepth) return fail("a value is nested more than {} deep", kMaxValueDepth);
  const uint64_t entries = container.is_sequence()                   ? container.items().size()
                           : container.is(TemplateValue::Kind::dict) ? container.pairs().size()
                                                                     : 1;
  return charge(64 * (entries + 1)) ? container : TemplateValue();
}

std::string TemplateInterpreter::shown(const TemplateValue& value) {
  if (value.is_string()) return charge(value.string().size()) ? value.string() : std::string();
  const uint64_t cost = value.weight();
  return charge(cost > (uint64_t(1) << 40) ? cost : cost * 4) ? to_text(value) : std::string();
}

Result<std::string> TemplateInterpreter::run(const TemplateNode& root) {
  std::string out;
  out_ = &out;
  open_scope(nullptr);
  execute(root.bodies[0]);
  close_scope();
  if (failed()) return status_;
  return out;
}

void TemplateInterpreter::open_scope(TemplateScope* parent) {
  open_.emplace_back(std::move(scope_owner_), scope_);
  scope_owner_ = std::make_unique<TemplateScope>();
  scope_ = scope_owner_.get();
  scope_->parent = parent;
}

void TemplateInterpreter::close_scope() {
  if (scope_->kept) kept_.push_back(std::move(scope_owner_));
  scope_owner_ = std::move(open_.back().first);
  scope_ = open_.back().second;
  open_.pop_back();
}

void TemplateInterpreter::keep_scopes() {
  for (TemplateScope* s = scope_; s != nullptr && !s->kept; s = s->parent) s->kept = charge(128);
}

void TemplateInterpreter::set(std::string_view name, const TemplateValue& value) {
  for (auto& [n, v] : scope_->variables) {
    if (n == name) {
      v = value;
      return;
    }
  }
  if (charge(64)) scope_->variables.emplace_back(name, value);
}

void TemplateInterpreter::emit(std::string_view bytes) {
  written_ += bytes.size();
  if (written_ > limits_.output_bytes) fail("more than {} bytes of output", limits_.output_bytes);
  if (charge(bytes.size())) *out_ += bytes;
}

std::string TemplateInterpreter::captured(const std::vector<TemplateNodePtr>& body) {
  std::string inner;
  std::string* outer = std::exchange(out_, &inner);
  execute(body);
  out_ = outer;
  return inner;
}

TemplateInterpreter::Flow TemplateInterpreter::execute(const std::vector<TemplateNodePtr>& body) {
  for (const auto& node : body) {
    const Flow flow = execute(*node);
    if (failed()) return Flow::broke;
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

TemplateInterpreter::Flow TemplateInterpreter::execute(const TemplateNode& node) {
  const Enter enter(*this, node);
  if (failed()) return Flow::broke;
  switch (node.op) {
    case Op::data: emit(node.text); return Flow::normal;
    case Op::print: {
      const TemplateValue value = evaluate(*node.kids[0]);
      at_ = &node;
      emit(shown(value));
      return Flow::normal;
    }
    case Op::branch: {
      for (size_t i = 0; i < node.kids.size(); ++i) {
        const bool taken = evaluate(*node.kids[i]).truthy();
        if (failed()) return Flow::broke;
        if (taken) return execute(node.bodies[i]);
      }
      return node.bodies.size() > node.kids.size() ? execute(node.bodies.back()) : Flow::normal;
    }
    case Op::loop: return loop(node);
    case Op::assign: assign(*node.kids[0], evaluate(*node.kids[1])); return Flow::normal;
    case Op::assign_block: {
      open_scope(scope_);
      TemplateValue value = text(captured(node.bodies[0]));
      close_scope();
      if (node.kids[1] != nullptr) {
        set("", value);  // a filter chain without operand reads the name that no template can spell
        value = evaluate(*node.kids[1]);
      }
      assign(*node.kids[0], value);
      return Flow::normal;
    }
    case Op::macro:
      keep_scopes();
      set(node.text, TemplateValue::macro(&node, scope_));
      return Flow::normal;
    case Op::call_block: {
      keep_scopes();
      const TemplateNode& what = *node.kids[0];
      const TemplateValue callee = evaluate(*what.kids[0]);
      TemplateCall call_arguments;
      if (!arguments(what, &call_arguments)) return Flow::broke;
      call_arguments.named.emplace_back("caller", TemplateValue::macro(node.kids[1].get(), scope_));
      at_ = &node;
      emit(shown(call(callee, call_arguments)));
      return Flow::normal;
    }
    case Op::filter_block: {
      open_scope(scope_);
      const std::string inner = captured(node.bodies[0]);
      set("", text(inner));
      const TemplateValue value = evaluate(*node.kids[0]);
      close_scope();
      emit(shown(value));
      return Flow::normal;
    }
    case Op::with: {
      TemplateList values;
      for (size_t i = 1; i < node.kids.size(); i += 2) values.push_back(evaluate(*node.kids[i]));
      open_scope(scope_);
      for (size_t i = 0; i < values.size(); ++i) assign(*node.kids[2 * i], values[i]);
      const Flow flow = execute(node.bodies[0]);
      close_scope();
      return flow;
    }
    case Op::scope: {
      open_scope(scope_);
      const Flow flow = execute(node.bodies[0]);
      close_scope();
      return flow;
    }
    case Op::loop_break: return Flow::broke;
    case Op::loop_continue: return Flow::continued;
    default: fail("an expression stands where a statement should"); return Flow::broke;
  }
}

TemplateInterpreter::Flow TemplateInterpreter::loop(const TemplateNode& node) {
  const TemplateValue over = evaluate(*node.kids[1]);
  at_ = &node;
  auto state = std::make_shared<TemplateLoop>();
  if (failed() || !iterate(over, &state->items)) return Flow::broke;
  if (node.kids[2] != nullptr) {
    TemplateList passed;
    for (const TemplateValue& item : state->items) {
      open_scope(scope_);
      assign(*node.kids[0], item);
      if (evaluate(*node.kids[2]).truthy()) passed.push_back(item);
      close_scope();
      if (failed()) return Flow::broke;
    }
    state->items = std::move(passed);
  }
  if (state->items.empty()) {
    if (node.bodies.size() < 2) return Flow::normal;
    open_scope(scope_);
    const Flow flow = execute(node.bodies[1]);
    close_scope();
    return flow;
  }
  for (const TemplateValue& item : state->items) state->inner_depth = std::max(state->inner_depth, item.depth());
  for (state->index = 0; state->index < state->items.size(); ++state->index) {
    at_ = &node;
    if (++steps_ > limits_.steps) fail("more than {} steps: the template loops too long", limits_.steps);
    open_scope(scope_);
    set("loop", TemplateValue::loop(state));
    assign(*node.kids[0], TemplateValue(state->items[state->index]));
    const Flow flow = execute(node.bodies[0]);
    close_scope();
    if (failed()) return Flow::broke;
    if (flow == Flow::broke) break;
  }
  return Flow::normal;
}

void TemplateInterpreter::assign(const TemplateNode& target, const TemplateValue& value) {
  if (failed()) return;
  at_ = &target;
  if (target.op == Op::name) return set(target.text, value);
  if (target.op == Op::space_name) {
    const TemplateValue space = lookup(target.text);
    if (!space.is(TemplateValue::Kind::space)) {
      fail("'{}' is no namespace, so '{}.{}' cannot be set", target.text, target.text, target.texts[0]);
      return;
    }
    for (auto& [name, old] : space.space()->values) {
      if (name == target.texts[0]) {
        old = value;
        return;
      }
    }
    if (charge(96)) space.space()->values.emplace_back(target.texts[0], value);
    return;
  }
  TemplateList parts;
  if (!iterate(value, &parts)) return;
  if (parts.size() != target.kids.size()) {
    fail("{} names for {} values", target.kids.size(), parts.size());
    return;
  }
  for (size_t i = 0; i < parts.size(); ++i) assign(*target.kids[i], parts[i]);
}

TemplateValue TemplateInterpreter::call_macro(const TemplateValue& macro, TemplateCall& call) {
  const TemplateNode& node = *macro.macro_node();
  const TemplateNode* from = at_;
  const auto take = [&](std::string_view name, TemplateValue* out) {
    const auto it =
        std::find_if(call.named.begin(), call.named.end(), [&](const auto& pair) { return pair.first == name; });
    if (it == call.named.end()) return false;
    *out = it->second;
    call.named.erase(it);
    return true;
  };
  const size_t n = node.kids.size();
  if (call.plain.size() > n && (node.specials & kUsesVarargs) == 0) {
    return fail("macro '{}' takes {} arguments, {} are given", node.text, n, call.plain.size());
  }
  const Enter enter(*this, node);
  open_scope(macro.macro_scope());
  for (size_t i = 0; i < n && !failed(); ++i) {
    const std::string& name = node.kids[i]->text;
    const size_t first_default = n - node.defaults.size();
    TemplateValue value;
    if (i < call.plain.size()) {
      value = call.plain[i];
    } else if (!take(name, &value)) {
      value =
          i >= first_default
              ? evaluate(*node.defaults[i - first_default])
              : TemplateValue::undefined(fmt::format("parameter '{}' of macro '{}' was not given", name, node.text));
    }
    set(name, value);
  }
  TemplateValue special;
  if (take("caller", &special)) {
    if ((node.specials & kUsesCaller) == 0)
      fail("macro '{}' does not use caller(), so it cannot be in a call block", node.text);
    set("caller", special);
  }
  if (node.specials & kUsesVarargs) {
    const size_t used = std::min(n, call.plain.size());
    set("varargs", TemplateValue::tuple(TemplateList(call.plain.begin() + std::ptrdiff_t(used), call.plain.end())));
  }
  if (node.specials & kUsesKwargs) {
    std::vector<std::pair<TemplateValue, TemplateValue>> rest;
    for (auto& [name, value] : call.named) rest.emplace_back(TemplateValue::of(name), value);
    set("kwargs", TemplateValue::dict(std::move(rest)));
  } else if (!call.named.empty()) {
    fail("macro '{}' takes no argument '{}'", node.text, call.named[0].first);
  }
  std::string result;
  if (!failed()) result = captured(node.bodies[0]);
  close_scope();
  at_ = from;
  return text(std::move(result));
}

}  // namespace vibee
