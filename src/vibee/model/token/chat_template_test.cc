// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>

#include "vibee/model/token/golden_spec.h"

namespace vibee {
namespace {

using Json = OrderedJson;

void expect_rendered(const std::string& name, const std::string& source, const Json& context, const Json& expected) {
  const auto parsed = ChatTemplate::parse(source);
  constexpr std::time_t kNow = 1735732800;  // as the goldens were made
  const auto out = parsed.ok() ? parsed->render(context, kNow) : Result<std::string>(parsed.status());
  if (expected.is_null()) {
    EXPECT_FALSE(out.ok()) << name << ": " << source << "\ngave: " << (out.ok() ? *out : "");
    if (out.ok()) return;
    EXPECT_EQ(out.status().message().rfind("chat template ", 0), 0u) << out.status().message();
    EXPECT_EQ(out.status().message().find('\n'), std::string::npos) << out.status().message();
    return;
  }
  ASSERT_TRUE(out.ok()) << name << ": " << source << "\n" << out.status().message();
  EXPECT_EQ(*out, expected.get<std::string>()) << name << ": " << source;
}

TEST(ChatTemplate, TemplatesEqualJinja) {
  const Json given = read_golden("template/templates.json"), expected = read_golden("template/expected.json");
  size_t cases = 0;
  for (const auto& [name, source] : given.at("templates").items()) {
    for (const auto& [conversation, text] : expected.at("templates").at(name).items()) {
      expect_rendered(name + " over " + conversation, source, given.at("conversations").at(conversation), text);
      ++cases;
    }
  }
  EXPECT_GE(cases, 350u);
}

TEST(ChatTemplate, SnippetsEqualJinja) {
  const Json given = read_golden("template/templates.json"), expected = read_golden("template/expected.json");
  const Json& snippets = given.at("snippets");
  ASSERT_EQ(snippets.size(), expected.at("snippets").size());
  ASSERT_GT(snippets.size(), 150u);
  for (size_t i = 0; i < snippets.size(); ++i) {
    expect_rendered("snippet", snippets[i], given.at("conversations").at("snippet"), expected.at("snippets")[i]);
  }
}

std::string message_of(const std::string& source, const Json& context = Json::object()) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status().message();
  const auto out = parsed->render(context);
  EXPECT_FALSE(out.ok()) << source;
  return out.status().message();
}

TEST(ChatTemplate, ErrorsSayWhereAndWhat) {
  EXPECT_EQ(message_of("line\n  {{ a.b }}"), "chat template 2:7: 'a' is not defined, so it has no attribute 'b'");
  EXPECT_EQ(message_of("{% if x %}\n{{ raise_exception('roles must alternate') }}\n{% endif %}", {{"x", 1}}),
            "chat template 2:19: the template refuses this conversation: roles must alternate");
  EXPECT_EQ(message_of("{{ x"), "chat template 1:1: a tag is not closed: add }}");
  EXPECT_EQ(message_of("a\n{% nosuch %}"),
            "chat template 2:4: statement 'nosuch' is not known; known are for, if, set, macro, call, filter, "
            "with, generation, break, continue");
  EXPECT_EQ(message_of("{{ 1 | nosuch }}"), "chat template 1:8: filter 'nosuch' is not known");
  EXPECT_NE(message_of("{{ 9223372036854775807 + 1 }}").find("does not fit into 64 bits"), std::string::npos);
  EXPECT_EQ(message_of("\xff"), "chat template is not UTF-8 at byte 0");
}

TEST(ChatTemplate, WorkAndMemoryAreBounded) {
  const auto start = std::chrono::steady_clock::now();
  const char* hostile[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% "
      "endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == "
      "[ns.l, 1][0] }}"
      "{{ ns.l|tojson(indent=4) }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
      "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ 'x' * 9223372036854775807 }}",
      "{{ [1] * 9223372036854775807 }}",
      "{{ ('x' * 100000) | replace('', 'y' * 100000) }}",
      "{{ ('x\n' * 1000000) | indent(1000) }}",
      "{{ (['x'] * 1000000) | join('y' * 100000) }}",
      "{{ '%200d' % 1 * 99999999 }}",
      "{{ range(0, 9223372036854775807, 1) }}",
      "{% set ns = namespace() %}{% set ns.me = ns %}{{ [ns.me] * 1000000000 }}",
      "{{ 2 ** 9223372036854775807 }}",
  };
  for (const char* source : hostile) EXPECT_NE(message_of(source), "") << source;
  const std::string deep = std::string(5000, '(') + std::string(5000, ')');
  EXPECT_NE(message_of("{{ " + deep + " }}").find("too deeply nested"), std::string::npos);
  std::string chain = "{{ 1";
  for (int i = 0; i < 5000; ++i) chain += " + 1";
  EXPECT_NE(message_of(chain + " }}").find("too deeply nested"), std::string::npos);
  std::string ifs;
  for (int i = 0; i < 5000; ++i) ifs += "{% if true %}";
  EXPECT_NE(message_of(ifs).find("too deeply nested"), std::string::npos);
  Json nested = 1;
  for (int i = 0; i < 200; ++i) nested = Json::array({nested});
  EXPECT_NE(message_of("x", {{"a", nested}}).find("nested more than"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

// What published attacks on loaders of templates reach for (CVE-2024-34359, CVE-2026-5760): nothing is there.
TEST(ChatTemplate, NothingBeyondTheDataIsReached) {
  const char* reaching[] = {
      "{{ ''.__class__.__mro__[1].__subclasses__() }}",
      "{{ messages.__class__.__base__.__subclasses__() }}",
      "{{ self.__init__.__globals__ }}",
      "{{ self._TemplateReference__context }}",
      "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
      "{{ joiner.__init__ }}",
      "{{ lipsum.__globals__['os'] }}",
      "{{ raise_exception.__globals__.items() }}",
      "{{ range.__self__.open('/etc/passwd') }}",
      "{{ namespace.__init__.__globals__ }}",
      "{{ ''|attr('__class__') }}",
      "{{ [messages]|map(attribute='__class__.__name__')|first.x }}",
      "{{ '{0.__class__}'.format(messages) }}",
      "{{ '{0[0]}'.format(messages) }}",
      "{{ ('%s'|safe).format.__globals__.x }}",
      "{{ loop.__class__.x }}",
      "{% macro m() %}{% endmacro %}{{ m.__globals__.x }}",
      "{% include '/etc/passwd' %}",
      "{% import 'os' as os %}{{ os }}",
      "{% from 'os' import popen %}",
      "{% extends '/etc/passwd' %}",
  };
  for (const char* source : reaching) EXPECT_NE(message_of(source, {{"messages", {"a"}}}), "") << source;
}

TEST(ChatTemplate, TimeIsTheCallersToGive) {
  const auto parsed = ChatTemplate::parse("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed->render(Json::object(), std::time_t(86400 * 366)), "1971");
}

TEST(ChatTemplate, AppliesToAConversationWithTheTokenizersTokens) {
  TokenizerSpec spec = small_gpt2({}, {"<s>", "</s>"});
  spec.bos = 256;
  spec.eos = 257;
  const auto tokenizer = make_tokenizer(std::move(spec));
  ASSERT_TRUE(tokenizer.ok());
  const auto parsed = ChatTemplate::parse(
      "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if "
      "add_generation_prompt %}>{% endif %}");
  ASSERT_TRUE(parsed.ok());
  const ChatMessage messages[] = {{"user", "hi"}, {"assistant", "yes\xff"}};
  EXPECT_EQ(*apply_chat_template(*parsed, messages, true, **tokenizer), "<s>user: hi</s>assistant: yes\xff</s>>");
  EXPECT_EQ(*apply_chat_template(*parsed, {}, false, **tokenizer), "<s>");
}

}  // namespace
}  // namespace vibee
