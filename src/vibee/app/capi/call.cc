// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/capi/call.h"

#include <string>

#include "vibee/base/text/quote.h"
#include "vibee/version.h"

namespace vibee {
namespace {

thread_local std::string t_line;               // of the last call that failed on this thread
thread_local const char* t_literal = nullptr;  // in its place when there was no memory for it

}  // namespace

static_assert(int(Code::invalid) == VIBEE_INVALID && int(Code::not_found) == VIBEE_NOT_FOUND);
static_assert(int(Code::corrupt) == VIBEE_CORRUPT && int(Code::unsupported) == VIBEE_UNSUPPORTED);
static_assert(int(Code::io) == VIBEE_IO && int(Code::no_memory) == VIBEE_NO_MEMORY);
static_assert(int(Code::cancelled) == VIBEE_CANCELLED);

vibee_code report(Code code, std::string_view message) noexcept {
  try {
    t_literal = nullptr;
    t_line = one_line(message);
  } catch (...) {
    t_literal = "out of memory";
  }
  return vibee_code(code);
}

Result<std::span<const int32_t>> read_tokens(const Model& model, const int32_t* tokens, size_t count) {
  VIBEE_ASSIGN(const std::span<const int32_t> ids, read_span(tokens, count, "tokens"));
  for (const int32_t id : ids)
    if (id < 0 || uint32_t(id) >= model.config().vocab)
      return error(Code::invalid, "token {} is not in the vocabulary of {}", id, model.config().vocab);
  return ids;
}

}  // namespace vibee

uint32_t vibee_abi_version(void) { return VIBEE_ABI_VERSION; }
const char* vibee_version(void) { return vibee::kVersion; }
const char* vibee_last_error(void) { return vibee::t_literal ? vibee::t_literal : vibee::t_line.c_str(); }
