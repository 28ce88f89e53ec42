// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/build_store.h"

#include <optional>

#include "vibee/base/hash/siphash.h"
#include "vibee/core/measure/measure.h"
#include "vibee/train/data/document_encoder.h"

namespace vibee {
namespace {

StoreReport report_of(const TokenStoreWriter& writer) {
  return {writer.documents(), writer.tokens(), writer.learnt(), writer.bytes()};
}

}  // namespace

bool is_held_out(const TextDocument& document, double share) {
  if (share <= 0) return false;
  std::string text = document.text;
  for (const ChatMessage& message : document.messages) text += message.role + '\n' + message.content + '\n';
  const Hash128 hash = SipHash(0, 0)({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return double(hash.low >> 11) * 0x1p-53 < share;
}

Result<BuildReport> build_store(const std::string& path, const Tokenizer& tokenizer, const BuildConfig& config,
                                const std::function<bool(uint64_t)>& progress) {
  const Timer timer;
  BuildReport report;
  VIBEE_ASSIGN(const DocumentEncoder encoder, DocumentEncoder::make(tokenizer, config.special));
  const VocabularyHash hash = vocabulary_hash(tokenizer);
  VIBEE_ASSIGN(TokenStoreWriter writer, TokenStoreWriter::create(path, uint32_t(tokenizer.size()), hash));
  std::optional<TokenStoreWriter> held;
  if (config.held_out > 0) {
    VIBEE_ASSIGN(TokenStoreWriter made, TokenStoreWriter::create(config.held_path, uint32_t(tokenizer.size()), hash));
    held.emplace(std::move(made));
  }
  std::vector<TokenDocument> encoded;
  bool aside = false;  // where the document goes of which this is a piece
  ScanWork work;
  work.begin = [&](size_t count) { encoded.assign(count, {}); };
  work.work = [&](size_t i, uint32_t, const TextDocument& document) { return encoder.encode(document, &encoded[i]); };
  work.end = [&](std::span<const TextDocument> documents) -> Status {
    for (size_t i = 0; i < documents.size(); ++i) {
      if (documents[i].begins) aside = held && is_held_out(documents[i], config.held_out);
      if (!documents[i].begins || !documents[i].ends) ++report.pieces;
      VIBEE_TRY((aside ? *held : writer).add(encoded[i]));
    }
    return {};
  };
  if (progress) work.progress = progress;
  VIBEE_ASSIGN(report.read, scan_documents(config.scan, work));
  if (held && held->documents() == 0)
    return error(Code::invalid, "none of {} documents was held out: hold out a larger share, or give more documents",
                 writer.documents());
  if (held) VIBEE_TRY(held->finish());
  VIBEE_TRY(writer.finish());
  report.store = report_of(writer);
  if (held) report.held = report_of(*held);
  report.seconds = timer.seconds();
  return report;
}

}  // namespace vibee
