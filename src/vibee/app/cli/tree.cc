// SPDX-License-Identifier: Apache-2.0
// vibee tree: what of the 131 techniques is here, and what each one promises.
#include <algorithm>
#include <cctype>
#include <cstdio>

#include "vibee/app/catalog/catalog.h"
#include "vibee/app/catalog/constants.h"
#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/technique_run.h"

namespace vibee {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// Without regard to case, in any field a reader might remember.
bool matches(const CatalogEntry& e, const std::string& word) {
  for (const std::string_view field :
       {std::string_view(e.version), std::string_view(e.name), std::string_view(e.branch), std::string_view(e.group),
        std::string_view(e.title), std::string_view(e.folder), std::string_view(e.promise),
        std::string_view(e.promise_text), name(e.status), std::string_view(e.switches), std::string_view(e.summary)})
    if (lower(field).find(word) != std::string::npos) return true;
  return false;
}

std::string list_text(const std::vector<CatalogEntry>& entries) {
  std::vector<std::string_view> branches;
  for (const CatalogEntry& e : entries)
    if (std::find(branches.begin(), branches.end(), e.branch) == branches.end()) branches.push_back(e.branch);
  std::string out;
  size_t in_tree = 0, tree_branches = 0;
  for (std::string_view branch : branches) {
    const bool outside = branch == "other";
    tree_branches += outside ? 0 : 1;
    out += outside ? "outside the tree\n" : fmt::format("{}\n", branch);
    for (const CatalogEntry& e : entries) {
      if (e.branch != branch) continue;
      in_tree += outside ? 0 : 1;
      out += fmt::format("  {:<6} {:<26} {:<15} {:<15} {}\n", outside ? "-" : e.version, e.name, name(e.status),
                         e.promise, e.summary.empty() ? e.title : e.summary);
    }
  }
  out += fmt::format("\n{} techniques in {} branches:", in_tree, tree_branches);
  for (TreeStatus status : kTreeStatuses) {
    const auto count = std::count_if(entries.begin(), entries.end(),
                                     [&](const CatalogEntry& e) { return e.status == status && !e.version.empty(); });
    out += fmt::format("{} {} {}", status == TreeStatus::runs_here ? "" : ",", count, name(status));
  }
  if (entries.size() > in_tree) out += fmt::format("; {} outside the tree", entries.size() - in_tree);
  return out + "\n";
}

std::string show_text(const CatalogEntry& e) {
  std::string out = fmt::format("{}{}{}: {}\n", e.version, e.version.empty() ? "" : " ", e.name,
                                e.summary.empty() ? e.title : e.summary);
  const auto line = [&](const char* label, std::string_view text) {
    if (!text.empty()) out += fmt::format("  {:<8} {}\n", label, text);
  };
  line("branch", e.group.empty() ? e.branch : fmt::format("{}, {} ({})", e.branch, e.group, e.title));
  line("status", e.detail.empty() ? std::string(name(e.status)) : fmt::format("{}: {}", name(e.status), e.detail));
  line("promise", e.promise_text);
  line("switch", e.switches);
  line("source", e.source);
  line("folder", e.folder);
  if (e.technique != nullptr) {
    line("check", fmt::format("vibee tree check {}", e.name));
    line("bench", fmt::format("vibee bench {}", e.name));
  }
  return out;
}

int print_constants(double value, const ConstantBounds& bounds) {
  const Result<ConstantFormula> nearest = nearest_constant(value, bounds);
  if (!nearest.ok()) return fail_usage("tree constants", nearest.status().message());
  const auto print = [&](const char* label, const ConstantFormula& f) {
    std::fputs(fmt::format("{:<9} {} = {} (n={} k={} m={} p={} q={}, relative error {:.3g})\n", label, f.text(),
                           f.value, f.n, f.k, f.m, f.p, f.q, f.relative_error)
                   .c_str(),
               stdout);
  };
  print("nearest", *nearest);
  const Result<ConstantFormula> simplest = simplest_constant(value, 1e-3, bounds);
  if (simplest.ok() && simplest->text() != nearest->text()) print("simplest", *simplest);
  return kExitOk;
}

}  // namespace

int verb_tree(int argc, char** argv) {
  bool json = false, markdown = false, all = false;
  std::string grep;
  Args args("tree",
            "The 131 acceleration techniques in nine branches: what is here, what each promises, how it is switched.");
  args.add("--json", json, "print an array of objects: id, name, branch, folder, promise, status, switch, ...");
  args.add("--grep", grep, "only those with this word in any field");
  args.add("--all", all, "with --json or --grep: also the techniques that are not among the 131");
  args.add("--markdown", markdown, "print docs/techniques.md");
  args.example("vibee tree --grep kv")
      .example("vibee tree check memory_efficient_attn")
      .example("vibee tree constants 4.236");

  std::string id;
  bool show_json = false;
  Args& show = args.sub("show", "everything about one technique");
  show.add("ID", id, "name or number, e.g. v1671").required();
  show.add("--json", show_json, "print an array of one object");

  TechniqueArgs check_args;
  Args& check = args.sub("check", "prove techniques on this machine");
  check_args.add_to(check);

  double value = 0;
  ConstantBounds bounds;
  uint32_t most = uint32_t(bounds.max_exponent);
  Args& constants = args.sub("constants", "the member of V = n * 3^k * pi^m * phi^p * e^q nearest to a value");
  constants.add("VALUE", value, "a positive number").required();
  constants.add("--max-n", bounds.max_n, "largest n");
  constants.add("--max-exponent", most, "largest exponent").between(0, 12);

  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  bounds.max_exponent = int(most);
  if (check.chosen()) return check_techniques(check_args);
  if (constants.chosen()) return print_constants(value, bounds);

  // This build has the CPU alone; a device backend that is present adds its name here. The page of docs is that of a
  // bare machine.
  std::vector<CatalogEntry> entries = make_catalog(std::span<const std::string>{});
  if (show.chosen()) {
    const Result<const CatalogEntry*> entry = find_entry(entries, id);
    if (!entry.ok()) return fail("tree show", entry.status());
    std::fputs(show_json ? catalog_json({*entry, 1}).c_str() : show_text(**entry).c_str(), stdout);
    return kExitOk;
  }
  if (markdown) {
    std::fputs(catalog_markdown(entries).c_str(), stdout);
    return kExitOk;
  }
  const std::string word = lower(grep);
  std::erase_if(entries, [&](const CatalogEntry& e) {
    return (!grep.empty() && !matches(e, word)) || (json && !all && grep.empty() && e.version.empty());
  });
  std::fputs((json ? catalog_json(entries) : list_text(entries)).c_str(), stdout);
  return kExitOk;
}

}  // namespace vibee
