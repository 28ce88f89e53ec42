// SPDX-License-Identifier: Apache-2.0
// Arguments of a verb. A thin front of CLI11, whose header costs seconds a file and is included in args.cc alone.
//
//   Args args("tree", "the techniques and their status");
//   args.add("--json", json, "print an array of objects").example("vibee tree --json");
//   if (auto exit_status = args.parse(argc, argv)) return *exit_status;
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vibee {

inline constexpr const char* kMarkdownHelp = "--markdown-help";

class Args {
 public:
  Args(std::string_view verb, std::string_view summary);
  ~Args();
  Args(Args&&) noexcept;
  Args& operator=(Args&&) = delete;

  /// `names` as in CLI11: "-n,--tokens" is an option, "MODEL" an argument by position; the variable keeps its value
  /// when the user gives none. A bool is a flag.
  Args& add(const std::string& names, bool& value, const std::string& help);
  Args& add(const std::string& names, std::string& value, const std::string& help);
  Args& add(const std::string& names, std::vector<std::string>& value, const std::string& help);
  Args& add(const std::string& names, uint32_t& value, const std::string& help);
  Args& add(const std::string& names, uint64_t& value, const std::string& help);
  Args& add(const std::string& names, int64_t& value, const std::string& help);
  Args& add(const std::string& names, double& value, const std::string& help);
  Args& add(const std::string& names, std::optional<std::string>& value, const std::string& help);
  Args& add(const std::string& names, std::optional<uint64_t>& value, const std::string& help);
  Args& add(const std::string& names, std::optional<double>& value, const std::string& help);
  /// About the option or argument added last.
  Args& required();
  Args& one_of(std::vector<std::string> values);
  Args& between(double low, double high);
  /// A line under "examples" of the help.
  Args& example(std::string line);
  /// A sub-verb (`vibee tree show ID`) with arguments of its own; lives as long as this.
  Args& sub(std::string_view name, std::string_view summary);
  /// True when the user gave this sub-verb.
  bool chosen() const;

  /// The exit status when the verb is done already: help was printed (0) or the usage was wrong (2, one line on
  /// stderr). With kMarkdownHelp alone the help is the verb's page of docs/verbs.
  std::optional<int> parse(int argc, char** argv);

 private:
  struct Impl;
  explicit Args(std::unique_ptr<Impl> impl);
  std::string markdown(bool sub) const;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vibee
