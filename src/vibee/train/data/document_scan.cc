// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/document_scan.h"

#include <atomic>

#include "vibee/base/text/quote.h"
#include "vibee/base/thread/team.h"

namespace vibee {
namespace {

constexpr size_t kBatchBytes = size_t(4) << 20, kBatchDocuments = 4096;  // a thread

uint64_t bytes_of(const TextDocument& document) {
  uint64_t bytes = document.text.size();
  for (const ChatMessage& message : document.messages) bytes += message.content.size();
  return bytes;
}

class Batch {
 public:
  Batch(const ScanWork& work, uint32_t threads) : work_(work), team_(threads) {}
  bool full() const { return bytes_ >= kBatchBytes * team_.size() || list_.size() >= kBatchDocuments * team_.size(); }
  void add(TextDocument document) {
    bytes_ += bytes_of(document);
    list_.push_back(std::move(document));
  }
  Status flush() {
    work_.begin(list_.size());
    std::vector<Status> statuses(list_.size());
    std::atomic<size_t> next{0};
    team_.run([&](uint32_t tid) {
      for (size_t i; (i = next.fetch_add(1)) < list_.size();) statuses[i] = work_.work(i, tid, list_[i]);
    });
    for (Status& status : statuses) VIBEE_TRY(std::move(status));
    VIBEE_TRY(work_.end(list_));
    list_.clear();
    bytes_ = 0;
    return {};
  }

 private:
  const ScanWork& work_;
  Team team_;
  std::vector<TextDocument> list_;
  size_t bytes_ = 0;
};

}  // namespace

Result<uint64_t> scan_documents(const DocumentScan& scan, const ScanWork& work) {
  uint64_t read = 0;
  Batch batch(work, scan.threads);
  for (const std::string& input : scan.inputs) {
    VIBEE_ASSIGN(DocumentReader reader, DocumentReader::open(input, scan.options));
    bool any = false;
    while (true) {
      TextDocument document;
      VIBEE_ASSIGN(const bool more, reader.next(&document));
      if (!more) break;
      any = true;
      batch.add(std::move(document));
      if (!batch.full()) continue;
      VIBEE_TRY(batch.flush());
      if (!work.progress(read + reader.position())) return error(Code::cancelled, "stopped");
    }
    if (!any) return error(Code::invalid, "{}: holds no document", input == "-" ? "standard input" : quote(input, 400));
    read += reader.position();
  }
  VIBEE_TRY(batch.flush());
  if (!work.progress(read)) return error(Code::cancelled, "stopped");
  return read;
}

}  // namespace vibee
