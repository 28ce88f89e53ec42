// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/piece_log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "vibee/base/hash/siphash.h"
#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

std::string hash_line(std::span<const uint8_t> bytes) {
  const Hash128 hash = SipHash(0, 0)(bytes);  // against accidents: whoever can write the log can write the file
  return fmt::format("{:016x}{:016x}", hash.high, hash.low);
}

}  // namespace

PieceLog PieceLog::open(std::string path, const std::string& key) {
  PieceLog log;
  log.path_ = std::move(path);
  log.first_ = "vibee pieces 1 " + hash_line({reinterpret_cast<const uint8_t*>(key.data()), key.size()});
  std::ifstream in(log.path_);
  std::string line;
  if (!std::getline(in, line) || line != log.first_) return log;
  while (std::getline(in, line) && line.size() == 32) log.lines_.push_back(line);
  return log;
}

bool PieceLog::holds(size_t i, std::span<const uint8_t> bytes) const {
  return i < lines_.size() && lines_[i] == hash_line(bytes);
}

Status PieceLog::truncate(size_t size) {
  lines_.resize(std::min(size, lines_.size()));
  std::ofstream out(path_, std::ios::trunc);
  out << first_ << '\n';
  for (const std::string& line : lines_) out << line << '\n';
  out.flush();
  if (!out) return error(Code::io, "{}: cannot be written", quote(path_, 400));
  return {};
}

Status PieceLog::add(std::span<const uint8_t> bytes) {
  lines_.push_back(hash_line(bytes));
  std::ofstream out(path_, std::ios::app);
  out << lines_.back() << '\n';
  out.flush();
  if (!out) return error(Code::io, "{}: cannot be written", quote(path_, 400));
  return {};
}

void PieceLog::remove() { ::unlink(path_.c_str()); }

}  // namespace vibee
