// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/catalog/catalog.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "vibee/core/technique/context.h"

namespace vibee {
namespace {

TEST(Catalog, Has131TechniquesInNineBranchesWhoseStatusesAddUp) {
  std::map<std::string, int> branches;
  std::map<TreeStatus, int> statuses;
  std::set<std::string> names;
  int count = 0;
  for (const CatalogEntry& e : make_catalog({})) {
    EXPECT_TRUE(names.insert(e.name).second) << e.name;
    EXPECT_TRUE(e.folder.starts_with("src/vibee/")) << e.name;
    if (e.version.empty()) continue;
    EXPECT_EQ(e.version, fmt::format("v{}", 1645 + count)) << "in the order of the tree";
    for (const std::string* field : {&e.title, &e.group, &e.promise, &e.promise_text, &e.switches})
      EXPECT_FALSE(field->empty()) << e.name;
    EXPECT_EQ(e.status == TreeStatus::missing, e.technique == nullptr) << e.name;
    ++branches[e.branch];
    ++statuses[e.status];
    ++count;
  }
  EXPECT_EQ(count, 131);
  const std::map<std::string, int> expected = {{"hardware", 10},  {"communication", 16}, {"serving", 10},
                                               {"compilers", 14}, {"sequence", 24},      {"parallelism", 11},
                                               {"precision", 16}, {"pruning", 11},       {"speculative", 19}};
  EXPECT_EQ(branches, expected);
  int sum = 0;
  for (TreeStatus status : kTreeStatuses) sum += statuses[status];
  EXPECT_EQ(sum, 131);
}

TEST(Catalog, TheFirstTechniqueIsThereInPart) {
  const std::vector<CatalogEntry> catalog = make_catalog({});
  for (const char* id : {"v1671", "1671", "memory_efficient_attn"}) {
    const Result<const CatalogEntry*> entry = find_entry(catalog, id);
    ASSERT_TRUE(entry.ok()) << id;
    EXPECT_EQ((*entry)->name, "memory_efficient_attn");
    EXPECT_NE((*entry)->status, TreeStatus::missing);
    EXPECT_EQ((*entry)->branch, "serving");
  }
}

TEST(Catalog, AnUnknownNameGetsASuggestion) {
  const std::vector<CatalogEntry> catalog = make_catalog({});
  EXPECT_NE(find_entry(catalog, "flash_decodin").status().message().find("flash_decoding"), std::string::npos);
  EXPECT_NE(find_entry(catalog, "nothing_like_it_at_all").status().message().find("--grep"), std::string::npos);
  EXPECT_FALSE(find_entry(catalog, "").ok());
  EXPECT_FALSE(find_entry(catalog, "v").ok());
  EXPECT_FALSE(find_entry(catalog, std::string(1 << 20, 'x')).ok());
}

constexpr std::string_view kHeader = "id,name,branch,group,title,folder,promise,promise_text,switch";
const std::string_view kTwoLines[] = {kHeader, "v1,one,a,G,One,src/vibee/x/y,exact,\"exact, and \"\"quoted\"\"\",--one",
                                      "v2,two,b,G,Two,src/vibee/x/y,bounded,bounded,--two"};

Technique row(std::string_view id, uint32_t version, Status (*check)(CheckContext&)) {
  return {id, version, "a summary", Promise::exact, "--switch", "a paper", "src/vibee/x/y", check, nullptr};
}
Status complete(CheckContext& context) {
  if (context.describe_only()) return {};
  context.equal("one", 1, 1);
  return {};
}
Status in_part(CheckContext& context) {
  context.not_built("backward");
  return {};
}
Status on_a_device(CheckContext& context) {
  context.needs_device("cuda", "H100, 2026-05-01");
  return {};
}
Status figures_only(CheckContext& context) {
  context.only_modelled();
  return {};
}
Status always_runs(CheckContext& context) {
  context.equal("one", 1, 1);
  return {};
}

CatalogEntry status_of(Status (*check)(CheckContext&), std::vector<std::string> devices = {}) {
  const Technique rows[] = {row("one", 1, check)};
  Result<std::vector<CatalogEntry>> catalog = make_catalog(kTwoLines, rows, devices);
  EXPECT_TRUE(catalog.ok()) << catalog.status().message();
  EXPECT_EQ((*catalog)[1].status, TreeStatus::missing);
  return (*catalog)[0];
}

TEST(Catalog, StatusIsComputedFromTheCheck) {
  EXPECT_EQ(status_of(complete).status, TreeStatus::runs_here);
  EXPECT_EQ(status_of(in_part).status, TreeStatus::partial);
  EXPECT_EQ(status_of(in_part).detail, "not built: backward");
  EXPECT_EQ(status_of(on_a_device).status, TreeStatus::needs_device);
  EXPECT_NE(status_of(on_a_device).detail.find("H100, 2026-05-01"), std::string::npos);
  EXPECT_EQ(status_of(on_a_device, {"cuda"}).status, TreeStatus::runs_here);
  EXPECT_EQ(status_of(figures_only).status, TreeStatus::modelled_only);
  EXPECT_EQ(status_of(complete).promise_text, "exact, and \"quoted\"");
}

std::string error_of(std::vector<std::string_view> lines, std::vector<Technique> rows) {
  const Result<std::vector<CatalogEntry>> catalog = make_catalog(lines, rows, {});
  return catalog.ok() ? "" : catalog.status().message();
}

TEST(Catalog, RefusesRowsThatContradictTheTree) {
  const std::vector<std::string_view> lines(std::begin(kTwoLines), std::end(kTwoLines));
  EXPECT_EQ(error_of(lines, {row("one", 1, complete), row("extra", 0, complete)}), "");
  EXPECT_NE(error_of(lines, {row("one", 2, complete)}).find("v2"), std::string::npos);
  EXPECT_NE(error_of(lines, {row("other", 7, complete)}).find("version 7"), std::string::npos);
  EXPECT_NE(error_of(lines, {row("one", 1, complete), row("one", 1, complete)}).find("two rows"), std::string::npos);
  EXPECT_NE(error_of(lines, {row("one", 1, always_runs)}).find("only asked to describe"), std::string::npos);
  EXPECT_NE(error_of({kHeader, "v1,one"}, {}).find("line 2: 2 fields"), std::string::npos);
  EXPECT_NE(error_of({kHeader, "v1,\"one"}, {}).find("quote"), std::string::npos);
}

TEST(Catalog, TextsListEveryEntry) {
  const Technique rows[] = {row("extra", 0, complete)};
  Result<std::vector<CatalogEntry>> catalog = make_catalog(kTwoLines, rows, {});
  ASSERT_TRUE(catalog.ok());
  const std::string markdown = catalog_markdown(*catalog), json = catalog_json(*catalog);
  for (const char* name : {"one", "two", "extra"}) {
    EXPECT_NE(markdown.find(fmt::format("`{}`", name)), std::string::npos);
    EXPECT_NE(json.find(fmt::format("\"name\": \"{}\"", name)), std::string::npos);
  }
  EXPECT_NE(markdown.find("## Outside the tree (1)"), std::string::npos);
  EXPECT_NE(json.find("\\\"quoted\\\""), std::string::npos);
  EXPECT_EQ(catalog_json({}), "[]\n");
}

}  // namespace
}  // namespace vibee
