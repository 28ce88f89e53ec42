// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/wheel.h"

#include <zip.h>

#include <memory>
#include <vector>

#include "vibee/base/text/quote.h"

namespace vibee {

Status extract_member(const std::string& wheel, const std::string& member,
                      const std::function<Status(std::span<const uint8_t>)>& sink) {
  int code = 0;
  const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(zip_open(wheel.c_str(), ZIP_RDONLY, &code), zip_discard);
  if (!archive) {
    zip_error_t why;
    zip_error_init_with_code(&why, code);
    Status status = error(Code::corrupt, "{}: not a readable wheel: {}", quote(wheel, 400), zip_error_strerror(&why));
    zip_error_fini(&why);
    return status;
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen(archive.get(), member.c_str(), 0), zip_fclose);
  if (!file) {
    return error(Code::corrupt, "{}: member {}: {}", quote(wheel, 400), quote(member), zip_strerror(archive.get()));
  }
  std::vector<uint8_t> chunk(1 << 18);
  for (;;) {
    const zip_int64_t n = zip_fread(file.get(), chunk.data(), chunk.size());
    if (n < 0) {
      return error(Code::corrupt, "{}: member {}: {}", quote(wheel, 400), quote(member), zip_file_strerror(file.get()));
    }
    if (n == 0) return {};
    VIBEE_TRY(sink(std::span(chunk).first(size_t(n))));
  }
}

}  // namespace vibee
