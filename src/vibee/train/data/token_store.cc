// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/token_store.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/digest.h"

namespace vibee {
namespace {

static_assert(std::endian::native == std::endian::little);
constexpr char kMagic[8] = {'V', 'I', 'B', 'E', 'E', 'T', 'O', 'K'}, kEnd[8] = {'V', 'I', 'B', 'E', 'E', 'E', 'N', 'D'};
constexpr uint32_t kVersion = 1, kHeader = 44, kTrailer = 40, kBlock = TokenStore::kBlock, kBits = kBlock / 8;
constexpr uint32_t kMostVocabulary = uint32_t(1) << 31;

uint32_t crc_of(std::span<const uint8_t> bytes) { return uint32_t(::crc32(0, bytes.data(), uInt(bytes.size()))); }

template <class T>
void put(std::span<uint8_t> out, size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof value);
}
template <class T>
T get(std::span<const uint8_t> in, size_t at) {
  T value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return value;
}

/// The last four bytes of `part` are the checksum of those before.
void seal(std::span<uint8_t> part) { put(part, part.size() - 4, crc_of(part.first(part.size() - 4))); }
bool sealed(std::span<const uint8_t> part) {
  return get<uint32_t>(part, part.size() - 4) == crc_of(part.first(part.size() - 4));
}

// Places inside a block.
constexpr size_t ids_at() { return 8; }
constexpr size_t ends_at(uint32_t width) { return 8 + size_t(kBlock) * width; }
constexpr size_t learnt_at(uint32_t width) { return ends_at(width) + kBits; }
constexpr size_t block_size(uint32_t width) { return learnt_at(width) + kBits + 4; }

bool bit(std::span<const uint8_t> block, size_t plane, uint32_t i) { return block[plane + i / 8] >> i % 8 & 1; }
uint64_t count_bits(std::span<const uint8_t> plane) {
  uint64_t n = 0;
  for (const uint8_t byte : plane) n += uint64_t(std::popcount(byte));
  return n;
}

}  // namespace

VocabularyHash vocabulary_hash(const Tokenizer& tokenizer) {
  Digest digest;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    const std::string_view piece = tokenizer.piece(id);
    digest.update(fmt::format("{}:", piece.size()));
    digest.update(piece);
  }
  const std::string hex = digest.finish();
  VocabularyHash out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = uint8_t(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return out;
}

TokenStoreWriter::TokenStoreWriter(AtomicFile file, std::string path, uint32_t vocabulary)
    : file_(std::move(file)),
      path_(std::move(path)),
      vocabulary_(vocabulary),
      width_(vocabulary <= 65536 ? 2 : 4),
      block_(block_size(width_)) {}

Result<TokenStoreWriter> TokenStoreWriter::create(const std::string& path, uint32_t vocabulary,
                                                  const VocabularyHash& hash) {
  if (vocabulary == 0 || vocabulary > kMostVocabulary)
    return error(Code::invalid, "{}: a vocabulary of {} tokens cannot be stored", quote(path, 400), vocabulary);
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(path + ".part"));
  TokenStoreWriter writer(std::move(file), path, vocabulary);
  std::array<uint8_t, kHeader> header{};
  std::memcpy(header.data(), kMagic, sizeof kMagic);
  put(std::span<uint8_t>(header), 8, kVersion);
  put(std::span<uint8_t>(header), 12, writer.width_);
  put(std::span<uint8_t>(header), 16, vocabulary);
  std::memcpy(header.data() + 24, hash.data(), hash.size());
  seal(header);
  VIBEE_TRY(writer.file_.append(header));
  return writer;
}

Status TokenStoreWriter::add(const TokenDocument& document) {
  VIBEE_CHECK(document.learnt.empty() || document.learnt.size() == document.ids.size());
  for (size_t i = 0; i < document.ids.size(); ++i) {
    const int32_t id = document.ids[i];
    if (id < 0 || uint32_t(id) >= vocabulary_)
      return error(Code::invalid, "id {} is outside of the vocabulary of {} tokens", id, vocabulary_);
    if (filled_ == kBlock) VIBEE_TRY(write_block());
    if (filled_ == 0) put(std::span<uint8_t>(block_), 0, documents_);
    std::memcpy(block_.data() + ids_at() + size_t(filled_) * width_, &id, width_);
    if (document.learnt.empty() || document.learnt[i]) {
      block_[learnt_at(width_) + filled_ / 8] |= uint8_t(1 << filled_ % 8);
      ++learnt_;
    }
    ++filled_;
    ++tokens_;
    open_ = true;
  }
  if (document.ends && open_) {  // the last id is still in the block: one is written when the next id comes
    block_[ends_at(width_) + (filled_ - 1) / 8] |= uint8_t(1 << (filled_ - 1) % 8);
    ++documents_;
    open_ = false;
  }
  return {};
}

Status TokenStoreWriter::write_block() {
  seal(block_);
  VIBEE_TRY(file_.append(block_));
  std::fill(block_.begin(), block_.end(), uint8_t(0));
  filled_ = 0;
  return {};
}

Status TokenStoreWriter::finish() {
  VIBEE_CHECK(!open_);
  if (tokens_ == 0) return error(Code::invalid, "{}: there is nothing to store", quote(path_, 400));
  if (filled_ > 0) VIBEE_TRY(write_block());
  std::array<uint8_t, kTrailer> trailer{};
  std::memcpy(trailer.data(), kEnd, sizeof kEnd);
  put(std::span<uint8_t>(trailer), 8, tokens_);
  put(std::span<uint8_t>(trailer), 16, documents_);
  put(std::span<uint8_t>(trailer), 24, learnt_);
  seal(trailer);
  VIBEE_TRY(file_.append(trailer));
  return file_.commit(path_);
}

struct TokenStore::Block {
  std::vector<uint8_t> bytes;
  uint64_t before() const { return get<uint64_t>(bytes, 0); }
};

uint64_t TokenStore::block_bytes() const { return block_size(width_); }

Result<TokenStore> TokenStore::open(const std::string& path) {
  VIBEE_ASSIGN(auto source, open_file_source(path));
  return open(std::move(source), quote(path, 400));
}

Result<TokenStore> TokenStore::open(std::shared_ptr<const ByteSource> source, std::string name) {
  TokenStore store;
  store.name_ = std::move(name);
  store.source_ = std::move(source);
  const uint64_t size = store.source_->size();
  std::array<uint8_t, kHeader> header{};
  std::array<uint8_t, kTrailer> trailer{};
  const auto bad = [&](uint64_t offset, std::string_view what) {
    return error(Code::corrupt, "{}: {} at offset {}; make it again with `vibee data build`", store.name_, what,
                 offset);
  };
  if (size < kHeader) return bad(0, fmt::format("no token store: only {} bytes", size));
  if (auto read = store.source_->read(0, header); !read.ok()) return std::move(read).within(store.name_);
  if (std::memcmp(header.data(), kMagic, sizeof kMagic) != 0) return bad(0, "no token store: another magic");
  if (const auto version = get<uint32_t>(header, 8); version != kVersion)
    return error(Code::unsupported, "{}: version {} of the format, this build reads {}", store.name_, version,
                 kVersion);
  if (!sealed(header)) return bad(0, "damaged header");
  store.width_ = get<uint32_t>(header, 12);
  store.vocabulary_ = get<uint32_t>(header, 16);
  std::memcpy(store.hash_.data(), header.data() + 24, store.hash_.size());
  if ((store.width_ != 2 && store.width_ != 4) || store.vocabulary_ == 0 || store.vocabulary_ > kMostVocabulary)
    return bad(8, "ids that cannot be");
  if (size < kHeader + kTrailer) return bad(size, "cut off");
  if (auto read = store.source_->read(size - kTrailer, trailer); !read.ok()) return std::move(read).within(store.name_);
  if (std::memcmp(trailer.data(), kEnd, sizeof kEnd) != 0 || !sealed(trailer))
    return bad(size - kTrailer, "cut off or damaged: no trailer");
  store.tokens_ = get<uint64_t>(trailer, 8);
  store.documents_ = get<uint64_t>(trailer, 16);
  store.learnt_ = get<uint64_t>(trailer, 24);
  const uint64_t blocks = (size - kHeader - kTrailer) / store.block_bytes();
  if (store.tokens_ == 0 || store.tokens_ > size || store.blocks() != blocks ||
      kHeader + blocks * store.block_bytes() + kTrailer != size || store.documents_ == 0 ||
      store.documents_ > store.tokens_ || store.learnt_ > store.tokens_)
    return bad(size - kTrailer, "a trailer that does not fit the size of the file");
  return store;
}

Status TokenStore::read_block(uint64_t index, Block* out) const {
  out->bytes.resize(block_bytes());
  const uint64_t offset = kHeader + index * block_bytes();
  if (auto read = source_->read(offset, out->bytes); !read.ok()) return std::move(read).within(name_);
  if (!sealed(out->bytes) || out->before() > documents_)
    return error(Code::corrupt, "{}: block {} at offset {} is damaged; make the store again with `vibee data build`",
                 name_, index, offset);
  return {};
}

Status TokenStore::read(uint64_t begin, uint64_t n, TokenSpan* out) const {
  VIBEE_CHECK(begin <= tokens_ && n <= tokens_ - begin, "ids {} + {} of {}", begin, n, tokens_);
  out->ids.resize(n);
  out->ends.resize(n);
  out->learnt.resize(n);
  Block block;
  for (uint64_t done = 0; done < n;) {
    const uint64_t index = (begin + done) / kBlock;
    VIBEE_TRY(read_block(index, &block));
    uint32_t i = uint32_t((begin + done) % kBlock);
    for (; i < kBlock && done < n; ++i, ++done) {
      uint32_t id = 0;
      std::memcpy(&id, block.bytes.data() + ids_at() + size_t(i) * width_, width_);
      if (id >= vocabulary_)
        return error(Code::corrupt, "{}: id {} at offset {} is outside of its vocabulary of {} tokens", name_, id,
                     kHeader + index * block_bytes() + ids_at() + uint64_t(i) * width_, vocabulary_);
      out->ids[done] = int32_t(id);
      out->ends[done] = bit(block.bytes, ends_at(width_), i);
      out->learnt[done] = bit(block.bytes, learnt_at(width_), i);
    }
  }
  return {};
}

/// The place of the id that ends `document`: its block by bisection, then its bit.
Result<uint64_t> TokenStore::end_of(uint64_t document) const {
  Block block;
  uint64_t low = 0, high = blocks();  // the last block with at most `document` documents before it
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    VIBEE_TRY(read_block(middle, &block));
    (block.before() <= document ? low : high) = middle;
  }
  VIBEE_TRY(read_block(low, &block));
  uint64_t seen = block.before();
  for (uint32_t i = 0; i < kBlock; ++i) {
    if (bit(block.bytes, ends_at(width_), i) && seen++ == document) return std::min(low * kBlock + i, tokens_ - 1);
  }
  return error(Code::corrupt, "{}: block {} at offset {} does not hold the end of document {}", name_, low,
               kHeader + low * block_bytes(), document);
}

Result<TokenStore::Extent> TokenStore::document(uint64_t i) const {
  if (i >= documents_) return error(Code::invalid, "{}: has no document {}, only {}", name_, i, documents_);
  Extent extent{0, 0};
  if (i > 0) {
    VIBEE_ASSIGN(const uint64_t before, end_of(i - 1));
    extent.begin = before + 1;
  }
  VIBEE_ASSIGN(const uint64_t last, end_of(i));
  extent.end = last + 1;
  if (extent.end <= extent.begin) return error(Code::corrupt, "{}: document {} ends before it begins", name_, i);
  return extent;
}

Status TokenStore::check_tokenizer(const Tokenizer& tokenizer) const {
  if (uint32_t(tokenizer.size()) != vocabulary_)
    return error(Code::invalid,
                 "{}: was made with a vocabulary of {} tokens, this tokenizer has {}; give the one that "
                 "made it, or build the store again",
                 name_, vocabulary_, tokenizer.size());
  if (vocabulary_hash(tokenizer) != hash_)
    return error(Code::invalid,
                 "{}: was made with another vocabulary of {} tokens than this tokenizer's; give the one "
                 "that made it, or build the store again",
                 name_, vocabulary_);
  return {};
}

Status TokenStore::verify(const std::function<bool(uint64_t)>& progress) const {
  uint64_t documents = 0, learnt = 0;
  Block block;
  TokenSpan span;
  for (uint64_t i = 0; i < blocks(); ++i) {
    const uint64_t n = std::min<uint64_t>(kBlock, tokens_ - i * kBlock), offset = kHeader + i * block_bytes();
    VIBEE_TRY(read_block(i, &block));
    if (block.before() != documents)
      return error(Code::corrupt, "{}: block {} at offset {} says {} documents end before it; there are {}", name_, i,
                   offset, block.before(), documents);
    VIBEE_TRY(read(i * kBlock, n, &span));
    const std::span<const uint8_t> bytes(block.bytes);
    for (uint32_t rest = uint32_t(n); rest < kBlock; ++rest) {
      if (bit(bytes, ends_at(width_), rest) || bit(bytes, learnt_at(width_), rest))
        return error(Code::corrupt, "{}: block {} at offset {} has bits behind the last id", name_, i, offset);
    }
    documents += count_bits(bytes.subspan(ends_at(width_), kBits));
    learnt += count_bits(bytes.subspan(learnt_at(width_), kBits));
    if (progress && !progress(i * kBlock + n)) return error(Code::cancelled, "{}: stopped", name_);
  }
  if (documents != documents_ || learnt != learnt_ || !span.ends.back())
    return error(Code::corrupt, "{}: its trailer says {} documents and {} ids to be learnt; there are {} and {}", name_,
                 documents_, learnt_, documents, learnt);
  return {};
}

}  // namespace vibee
