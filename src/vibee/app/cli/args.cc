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

std::optional<int> Args::parse(int argc, char** argv) {
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
