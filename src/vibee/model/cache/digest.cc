// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/digest.h"

#include <fmt/format.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <vector>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {

struct Digest::State {
  Kind kind;
  sha256_ctx sha256;
  sha1_ctx sha1;
};

Digest::Digest(Kind kind) : state_(std::make_unique<State>()) {
  state_->kind = kind;
  sha256_init(&state_->sha256);
  sha1_init(&state_->sha1);
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;

void Digest::update(std::span<const uint8_t> bytes) {
  if (state_->kind == Kind::sha256) {
    sha256_update(&state_->sha256, bytes.size(), bytes.data());
  } else {
    sha1_update(&state_->sha1, bytes.size(), bytes.data());
  }
}
void Digest::update(std::string_view text) {
  update(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

std::string Digest::finish() {
  uint8_t digest[SHA256_DIGEST_SIZE];
  const size_t n = state_->kind == Kind::sha256 ? SHA256_DIGEST_SIZE : SHA1_DIGEST_SIZE;
  if (state_->kind == Kind::sha256) {
    sha256_digest(&state_->sha256, n, digest);
  } else {
    sha1_digest(&state_->sha1, n, digest);
  }
  std::string out;
  for (size_t i = 0; i < n; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

std::array<uint8_t, 32> sha256_of(std::span<const uint8_t> bytes) {
  std::array<uint8_t, 32> out;
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, bytes.size(), bytes.data());
  sha256_digest(&context, out.size(), out.data());
  return out;
}

Status digest_file(const std::string& path, Digest* digest, const std::function<bool(uint64_t)>& step) {
  VIBEE_ASSIGN(const auto source, open_file_source(path));
  std::vector<uint8_t> chunk(1 << 20);
  for (uint64_t at = 0; at < source->size();) {
    const size_t n = size_t(std::min<uint64_t>(chunk.size(), source->size() - at));
    Status status = source->read(at, std::span(chunk).first(n));
    if (!status.ok()) return std::move(status).within(quote(path, 400));
    digest->update(std::span(chunk).first(n));
    at += n;
    if (step && !step(at)) return error(Code::cancelled, "cancelled");
  }
  return {};
}

Result<std::string> sha256_of_file(const std::string& path, const std::function<bool(uint64_t)>& step) {
  Digest digest;
  VIBEE_TRY(digest_file(path, &digest, step));
  return digest.finish();
}

}  // namespace vibee
