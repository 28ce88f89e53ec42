// SPDX-License-Identifier: Apache-2.0
// Documents out of files: plain text, JSON lines with a text, JSON lines with conversations. Memory is bounded whatever
// a file holds: a long text comes in pieces.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/chat_template.h"

namespace vibee {

/// A document, or a piece of a text that is longer than `DocumentOptions::piece`.
struct TextDocument {
  std::string text = {};
  std::vector<ChatMessage> messages = {};  ///< of a conversation, which has no text
  bool begins = true, ends = true;         ///< the first, the last piece
  std::string where = {};                  ///< "file" or "file, line 12", for messages
};

struct DocumentOptions {
  enum class Kind : uint8_t { by_name, text, lines };
  Kind kind = Kind::by_name;   ///< by_name: .jsonl and .ndjson hold JSON lines, everything else is text
  std::string field = "text";  ///< of a JSON line; without it the line must have `messages`
  std::string
      separator;  ///< between the documents of a text file, with the line breaks around it; empty: a file is one
  size_t piece = size_t(1) << 20;   ///< bytes of a piece
  size_t line = size_t(256) << 20;  ///< bytes that a JSON line may have
};

class DocumentReader {
 public:
  /// "-" is standard input, read as text unless the options say lines.
  static Result<DocumentReader> open(const std::string& path, const DocumentOptions& options);
  /// False at the end. Text that holds a zero byte or is not UTF-8 is an error with its offset.
  Result<bool> next(TextDocument* out);
  /// Bytes of the file that were read.
  uint64_t position() const { return base_ + buffer_.size(); }

 private:
  struct Close {
    void operator()(std::FILE* file) const;
  };
  DocumentReader() = default;
  Status fill();
  Result<bool> next_text(TextDocument* out);
  Result<bool> next_line(TextDocument* out);
  Status check_text(std::string_view text, uint64_t offset) const;
  std::string_view rest() const { return std::string_view(buffer_).substr(begin_); }

  std::unique_ptr<std::FILE, Close> file_;
  std::string name_;
  DocumentOptions options_;
  std::string buffer_;  // what was read last
  size_t begin_ = 0;    // of it was given already
  uint64_t base_ = 0;   // the offset of its first byte in the file
  uint64_t line_ = 0;
  bool at_end_ = false, inside_ = false;
};

/// Where a piece of at most `limit` bytes of `text`, which is longer, should end: behind the last line break with a
/// character that is no white space on either side, or before a space between two letters, where pre-tokenizers cut in
/// any case; else between two characters.
size_t piece_end(std::string_view text, size_t limit);

}  // namespace vibee
