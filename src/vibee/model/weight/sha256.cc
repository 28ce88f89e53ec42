// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <vector>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  VIBEE_CHECK(state_->context && EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;

void Sha256::update(std::span<const uint8_t> bytes) {
  VIBEE_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::finish() {
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  VIBEE_CHECK(EVP_DigestFinal_ex(state_->context, digest, &n) == 1 && n == 32);
  std::string out;
  for (unsigned i = 0; i < n; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

Result<std::string> sha256_of_file(const std::string& path, const std::function<bool(uint64_t)>& step) {
  VIBEE_ASSIGN(const auto source, open_file_source(path));
  Sha256 hash;
  std::vector<uint8_t> chunk(1 << 20);
  for (uint64_t at = 0; at < source->size();) {
    const size_t n = size_t(std::min<uint64_t>(chunk.size(), source->size() - at));
    Status status = source->read(at, std::span(chunk).first(n));
    if (!status.ok()) return std::move(status).within(quote(path, 400));
    hash.update(std::span(chunk).first(n));
    at += n;
    if (step && !step(at)) return error(Code::cancelled, "cancelled");
  }
  return hash.finish();
}

}  // namespace vibee
