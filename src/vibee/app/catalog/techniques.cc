// SPDX-License-Identifier: Apache-2.0
// Concatenates the techniques.inc of all families into one constant table (no static initialisers). techniques_all.inc
// is written by cmake/tree.cmake: for each family it sets VIBEE_FAMILY and VIBEE_FOLDER and includes the family's rows.
#include "vibee/app/catalog/catalog.h"
#include "vibee/core/technique/context.h"

namespace vibee {

// First pass: declarations. A row that says `own` without defining its function does not link.
#define VIBEE_DECLARE_check_own(id) Status check_##id(CheckContext&);
#define VIBEE_DECLARE_bench_own(id) Status bench_##id(BenchContext&);
#define VIBEE_DECLARE_check_family(id) Status VIBEE_CAT(check_family_, VIBEE_FAMILY)(CheckContext&, std::string_view);
#define VIBEE_DECLARE_bench_family(id) Status VIBEE_CAT(bench_family_, VIBEE_FAMILY)(BenchContext&, std::string_view);
#define VIBEE_TECHNIQUE(id, version, summary, promise, switches, source, check, bench) \
  VIBEE_DECLARE_check_##check(id) VIBEE_DECLARE_bench_##bench(id)
#include "vibee/techniques_all.inc"
#undef VIBEE_TECHNIQUE

// Second pass: the table.
#define VIBEE_USE_check_own(id) &check_##id
#define VIBEE_USE_bench_own(id) &bench_##id
#define VIBEE_USE_check_family(id) \
  [](CheckContext& context) { return VIBEE_CAT(check_family_, VIBEE_FAMILY)(context, #id); }
#define VIBEE_USE_bench_family(id) \
  [](BenchContext& context) { return VIBEE_CAT(bench_family_, VIBEE_FAMILY)(context, #id); }
#define VIBEE_TECHNIQUE(id, version, summary, promise, switches, source, check, bench) \
  Technique{#id,                                                                       \
            version,                                                                   \
            summary,                                                                   \
            Promise::promise,                                                          \
            switches,                                                                  \
            source,                                                                    \
            VIBEE_FOLDER,                                                              \
            VIBEE_USE_check_##check(id),                                               \
            VIBEE_USE_bench_##bench(id)},

namespace {
constexpr Technique kTechniques[] = {
#include "vibee/techniques_all.inc"
};
}  // namespace
#undef VIBEE_TECHNIQUE

std::span<const Technique> all_techniques() { return kTechniques; }

}  // namespace vibee
