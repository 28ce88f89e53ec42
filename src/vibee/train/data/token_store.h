// SPDX-License-Identifier: Apache-2.0
// The token store: texts as ids, one behind the other, in a file that training reads from anywhere.
//
//   header   44 bytes: "VIBEETOK", version, bytes an id (2 or 4), ids of the vocabulary, 0, hash of the vocabulary (16
//            bytes), CRC-32 of the 40 bytes before it
//   blocks   of 4096 ids each, the last one filled with zeros: how many documents end before it (8 bytes), the ids, a
//            bit an id that is set where a document ends, a bit an id that is set where an answer is to be learnt (all
//            of a plain text), CRC-32 of the block
//   trailer  40 bytes: "VIBEEEND", ids, documents, ids to be learnt, 0, CRC-32 of the 36 bytes before it
//
// All numbers are little-endian. Every block has the same size, so id i lies where it is computed to lie, and a writer
// only appends. A block is verified whenever it is read: damage is an error with its offset, never other ids.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vibee/model/token/tokenizer.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {

/// What tells vocabularies apart: the bytes that every id stands for. A GGUF file and a tokenizer.json of one model
/// have the same.
using VocabularyHash = std::array<uint8_t, 16>;
VocabularyHash vocabulary_hash(const Tokenizer& tokenizer);

/// What a document, or a piece of a long one, becomes.
struct TokenDocument {
  std::vector<int32_t> ids = {};
  std::vector<bool> learnt = {};  ///< one an id; empty: all
  bool ends = true;               ///< the document ends behind the last id
};

/// Appends documents; what was written appears as a whole with finish().
class TokenStoreWriter {
 public:
  /// Begins `path`.part. `vocabulary`: how many ids there are; at most 2^31.
  static Result<TokenStoreWriter> create(const std::string& path, uint32_t vocabulary, const VocabularyHash& hash);
  /// A document without ids is passed over. An id outside of the vocabulary is an error.
  Status add(const TokenDocument& document);
  /// Refuses to write a store of nothing.
  Status finish();
  uint64_t tokens() const { return tokens_; }
  uint64_t documents() const { return documents_; }
  uint64_t learnt() const { return learnt_; }
  uint64_t bytes() const { return file_.size(); }

 private:
  TokenStoreWriter(AtomicFile file, std::string path, uint32_t vocabulary);
  Status write_block();
  AtomicFile file_;
  std::string path_;
  uint32_t vocabulary_, width_;
  std::vector<uint8_t> block_;
  uint32_t filled_ = 0;
  bool open_ = false;  // ids since the last end of a document
  uint64_t tokens_ = 0, documents_ = 0, learnt_ = 0;
};

/// A stretch of a store.
struct TokenSpan {
  std::vector<int32_t> ids = {};
  std::vector<bool> ends;    ///< where a document ends
  std::vector<bool> learnt;  ///< what is to be learnt
};

class TokenStore {
 public:
  static Result<TokenStore> open(const std::string& path);
  /// The same of bytes; errors begin with `name`.
  static Result<TokenStore> open(std::shared_ptr<const ByteSource> source, std::string name);

  uint64_t tokens() const { return tokens_; }
  uint64_t documents() const { return documents_; }
  uint64_t learnt() const { return learnt_; }
  uint64_t bytes() const { return source_->size(); }
  uint32_t vocabulary() const { return vocabulary_; }
  uint32_t id_bytes() const { return width_; }
  const std::string& name() const { return name_; }

  /// Replaces `out` by ids [begin, begin + n). Any number of threads may read.
  Status read(uint64_t begin, uint64_t n, TokenSpan* out) const;
  /// The first id of document `i` and the one behind its last.
  struct Extent {
    uint64_t begin, end;
  };
  Result<Extent> document(uint64_t i) const;
  /// An error unless the ids of the store are those of `tokenizer`.
  Status check_tokenizer(const Tokenizer& tokenizer) const;
  /// Reads every block and counts again. `progress` gets ids done; it stops the work by returning false.
  Status verify(const std::function<bool(uint64_t)>& progress = {}) const;

  /// Ids of a block, and its bytes.
  static constexpr uint32_t kBlock = 4096;
  uint64_t block_bytes() const;

 private:
  struct Block;
  TokenStore() = default;
  uint64_t blocks() const { return (tokens_ + kBlock - 1) / kBlock; }
  Status read_block(uint64_t index, Block* out) const;
  Result<uint64_t> end_of(uint64_t document) const;

  std::shared_ptr<const ByteSource> source_;
  std::string name_;
  VocabularyHash hash_{};
  uint32_t vocabulary_ = 0, width_ = 2;
  uint64_t tokens_ = 0, documents_ = 0, learnt_ = 0;
};

}  // namespace vibee
