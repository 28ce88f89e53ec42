// SPDX-License-Identifier: Apache-2.0
// What every function of vibee.h does around its work: nothing escapes, an error leaves its line, structs of older
// headers are read as if their missing fields were zero.
#pragma once

#include <vibee/vibee.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>

#include "vibee/app/jobs/load.h"
#include "vibee/base/thread/turns.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {
/// What a model and its streams share, so that either may go first. One engine runs the prompts of all streams
/// together; whichever stream is asked for its next event steps it for all.
struct OpenModel {
  LoadConfig config;
  Loaded loaded;
  std::optional<Engine> engine;
  std::vector<vibee_stream*> streams;  ///< open ones, which get their events from any step
  Turns turns;                         ///< held while all that stands above is used
};
}  // namespace vibee

struct vibee_model {
  std::shared_ptr<vibee::OpenModel> open;
};

namespace vibee {

/// Keeps the line for vibee_last_error; returns the code.
vibee_code report(Code code, std::string_view message) noexcept;

/// Runs `body`, which returns a Status.
template <class Body>
vibee_code call(Body&& body) noexcept {
  try {
    const Status status = body();
    return status.ok() ? VIBEE_OK : report(status.code(), status.message());
  } catch (const std::bad_alloc&) {
    return report(Code::no_memory, "out of memory; a smaller model, context or batch needs less");
  } catch (const std::exception& e) {
    return report(Code::invalid, e.what());
  }
}

inline Status not_null(const void* pointer, const char* name) {
  return pointer ? Status() : error(Code::invalid, "{} is NULL", name);
}

template <class T>
Status check_size(const T& sized, const char* name) {
  if (sized.struct_size >= sizeof(size_t) && sized.struct_size <= sizeof(T)) return {};
  return error(Code::invalid, "{}: struct_size is {}; set it to sizeof, with a header no newer than this library ({})",
               name, sized.struct_size, vibee_version());
}

/// A sized struct of the caller; NULL reads as all zero.
template <class T>
Result<T> read_sized(const T* in, const char* name) {
  T out{};
  if (in == nullptr) return out;
  VIBEE_TRY(check_size(*in, name));
  std::memcpy(&out, in, in->struct_size);
  return out;
}

/// Fills as much of a caller's sized struct as it has.
template <class T>
Status write_sized(T value, T* out, const char* name) {
  VIBEE_TRY(not_null(out, name));
  VIBEE_TRY(check_size(*out, name));
  value.struct_size = out->struct_size;
  std::memcpy(out, &value, out->struct_size);
  return {};
}

/// The whole length to *count, and what fits to `out`.
template <class T>
Status write_some(std::span<const T> values, T* out, size_t capacity, size_t* count) {
  VIBEE_TRY(not_null(count, "count"));
  if (capacity > 0) VIBEE_TRY(not_null(out, "the buffer"));
  *count = values.size();
  std::copy_n(values.data(), std::min(capacity, values.size()), out);
  return {};
}

template <class T>
Result<std::span<const T>> read_span(const T* data, size_t count, const char* name) {
  if (count > 0) VIBEE_TRY(not_null(data, name));
  return std::span<const T>(data, count);
}

/// Ids of a caller, checked against the vocabulary.
Result<std::span<const int32_t>> read_tokens(const Model& model, const int32_t* tokens, size_t count);

}  // namespace vibee
