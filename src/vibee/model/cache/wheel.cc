// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/wheel.h"

#include <minizip/unzip.h>

#include <memory>
#include <vector>

#include "vibee/base/text/quote.h"

namespace vibee {

Status extract_member(const std::string& wheel, const std::string& member,
                      const std::function<Status(std::span<const uint8_t>)>& sink) {
  const auto bad = [&](std::string_view what) {
    return error(Code::corrupt, "{}: member {}: {}", quote(wheel, 400), quote(member), what);
  };
  const std::unique_ptr<void, int (*)(unzFile)> archive(unzOpen64(wheel.c_str()), unzClose);
  if (!archive) return error(Code::corrupt, "{}: not a readable wheel", quote(wheel, 400));
  constexpr int kCaseCounts = 1;
  if (unzLocateFile(archive.get(), member.c_str(), kCaseCounts) != UNZ_OK) return bad("is not in it");
  if (const int code = unzOpenCurrentFile(archive.get()); code != UNZ_OK)
    return bad(fmt::format("cannot be opened (zip error {})", code));
  std::vector<uint8_t> chunk(1 << 18);
  for (;;) {
    const int n = unzReadCurrentFile(archive.get(), chunk.data(), unsigned(chunk.size()));
    if (n < 0) return bad(fmt::format("is damaged (zip error {})", n));
    if (n == 0) break;
    VIBEE_TRY(sink(std::span(chunk).first(size_t(n))));
  }
  if (unzCloseCurrentFile(archive.get()) == UNZ_CRCERROR) return bad("does not match its CRC");
  return {};
}

}  // namespace vibee
