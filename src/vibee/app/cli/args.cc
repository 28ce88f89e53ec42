// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/args.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "vibee/app/cli/cli.h"

namespace vibee {

struct Args::Impl {
  std::string verb;
  std::unique_ptr<CLI::App> owned;  ///< set in the verb itself, not in its sub-verbs
  CLI::App* app = nullptr;
  CLI::Option* last = nullptr;
  std::vector<std::string> examples;
  std::vector<std::unique_ptr<Args>> subs;

  void show_examples() {
    std::string footer = "\nExamples:";
    for (const std::string& line : examples) footer += "\n  " + line;
    app->footer(footer);
  }
};

Args::Args(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Args::Args(std::string_view verb, std::string_view summary) : impl_(std::make_unique<Impl>()) {
  impl_->verb = verb;
  impl_->owned = std::make_unique<CLI::App>(std::string(summary), fmt::format("vibee {}", verb));
  impl_->app = impl_->owned.get();
  impl_->app->require_subcommand(0, 1);
}
Args::~Args() = default;
Args::Args(Args&&) noexcept = default;

namespace {

template <class T>
CLI::Option* add_value(CLI::App* app, const std::string& names, T& value, const std::string& help) {
  return app->add_option(names, value, help)->capture_default_str();
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// CLI11's "UINT:1..4096" or "TEXT:{f32,f16}" as a reader wants it: "1..4096", "f32, f16"; else "number" or "text".
std::string value_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (option.get_expected_max() == 0) return "";  // a flag
  const size_t colon = type.find(':');
  if (colon == std::string::npos) return type == "TEXT" ? "text" : "number";
  std::string range = type.substr(colon + 1);
  if (range.front() == '{') range = replace_all(range.substr(1, range.size() - 2), ",", ", ");
  return range;
}

std::string cell(const std::string& text) { return replace_all(text, "|", "\\|"); }

}  // namespace

Args& Args::add(const std::string& names, bool& value, const std::string& help) {
  impl_->last = impl_->app->add_flag(names, value, help)->disable_flag_override();  // --json=3x is no flag
  return *this;
}
Args& Args::add(const std::string& names, std::string& value, const std::string& help) {
  impl_->last = add_value(impl_->app, names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, std::vector<std::string>& value, const std::string& help) {
  impl_->last = impl_->app->add_option(names, value, help);
  // An option takes one value each time it is given: what follows may be the verb's own argument.
  if (names[0] == '-') impl_->last->allow_extra_args(false);
  return *this;
}
Args& Args::add(const std::string& names, uint32_t& value, const std::string& help) {
  impl_->last = add_value(impl_->app, names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, uint64_t& value, const std::string& help) {
  impl_->last = add_value(impl_->app, names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, int64_t& value, const std::string& help) {
  impl_->last = add_value(impl_->app, names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, double& value, const std::string& help) {
  impl_->last = add_value(impl_->app, names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, std::optional<std::string>& value, const std::string& help) {
  impl_->last = impl_->app->add_option(names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, std::optional<uint64_t>& value, const std::string& help) {
  impl_->last = impl_->app->add_option(names, value, help);
  return *this;
}
Args& Args::add(const std::string& names, std::optional<double>& value, const std::string& help) {
  impl_->last = impl_->app->add_option(names, value, help);
  return *this;
}

Args& Args::required() {
  impl_->last->required();
  return *this;
}

Args& Args::one_of(std::vector<std::string> values) {
  impl_->last->check(CLI::IsMember(std::move(values)));
  return *this;
}

Args& Args::between(double low, double high) {
  // CLI::Range lets NaN through; a number that cannot be compared is not between anything.
  impl_->last->check(CLI::Validator(
      [low, high](std::string& text) {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool good = end != text.c_str() && *end == '\0' && value >= low && value <= high;
        return good ? std::string() : fmt::format("{} is not a number from {} to {}", text, low, high);
      },
      fmt::format("{}..{}", low, high)));
  return *this;
}

Args& Args::example(std::string line) {
  impl_->examples.push_back(std::move(line));
  impl_->show_examples();
  return *this;
}

Args& Args::sub(std::string_view name, std::string_view summary) {
  auto impl = std::make_unique<Impl>();
  impl->verb = fmt::format("{} {}", impl_->verb, name);
  impl->app = impl_->app->add_subcommand(std::string(name), std::string(summary));
  impl->app->footer("");  // not the examples of the verb
  impl_->subs.push_back(std::unique_ptr<Args>(new Args(std::move(impl))));
  return *impl_->subs.back();
}

bool Args::chosen() const { return impl_->app->parsed(); }

/// A verb's page, or the part of it about a sub-verb.
std::string Args::markdown(bool sub) const {
  const CLI::App& app = *impl_->app;
  std::string usage = "vibee " + impl_->verb, positionals, options, subs;
  for (const CLI::Option* o : app.get_options()) {
    const std::string name = o->get_name(o->get_positional(), true);
    if (name == "-h,--help") continue;
    if (o->get_positional()) {
      const std::string shown = name + (o->get_items_expected_max() > 1 ? "..." : "");
      usage += o->get_required() ? " " + shown : " [" + shown + "]";
      positionals += fmt::format("| `{}` | {} |\n", shown, cell(o->get_description()));
    } else {
      const std::string fallback = o->get_default_str();
      options += fmt::format("| `{}` | {} | {} | {} |\n", replace_all(name, ",", "`, `"), value_of(*o),
                             fallback.empty() ? "" : "`" + fallback + "`", cell(o->get_description()));
    }
  }
  for (const std::unique_ptr<Args>& s : impl_->subs) subs += s->markdown(true);
  if (!subs.empty()) usage += " [SUBVERB]";
  if (!options.empty()) usage += " [options]";
  std::string out =
      fmt::format("{} vibee {}\n\n{}\n\n    {}\n", sub ? "\n##" : "#", impl_->verb, app.get_description(), usage);
  if (!impl_->examples.empty()) out += "\nFor example:\n\n";
  for (const std::string& line : impl_->examples) out += "    " + line + "\n";
  if (!positionals.empty()) out += "\n| argument | what it is |\n|---|---|\n" + positionals;
  if (!options.empty()) out += "\n| option | value | default | what it does |\n|---|---|---|---|\n" + options;
  return out + subs;
}

std::optional<int> Args::parse(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == kMarkdownHelp) {
    std::fputs(("<!-- Written by `make docs` from the verb's own table of arguments. -->\n" + markdown(false)).c_str(),
               stdout);
    return kExitOk;
  }
  try {
    impl_->app->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return impl_->app->exit(e);  // --help
    std::string message = e.what();
    for (char& c : message)
      if (c == '\n') c = ' ';
    while (!message.empty() && (message.back() == ' ' || message.back() == '.')) message.pop_back();
    return fail_usage(impl_->verb, message);
  }
}

}  // namespace vibee
