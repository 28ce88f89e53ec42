// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/base64.h"

#include <openssl/evp.h>

namespace vibee {

std::string base64_encode(std::span<const uint8_t> bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // a zero is written behind the text
  out.resize(size_t(EVP_EncodeBlock(reinterpret_cast<uint8_t*>(out.data()), bytes.data(), int(bytes.size()))));
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > 1 << 20) return {};
  std::string out(text.size() / 4 * 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<uint8_t*>(out.data()), reinterpret_cast<const uint8_t*>(text.data()),
                                int(text.size()));
  if (n < 0) return {};
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;  // counted as bytes of zero
  out.resize(size_t(n) - padding);
  return out;
}

}  // namespace vibee
