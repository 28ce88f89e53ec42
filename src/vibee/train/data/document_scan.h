// SPDX-License-Identifier: Apache-2.0
// Goes through the documents of files in batches of bounded size: all threads work on the documents of a batch, then
// one takes the results in their order.
#pragma once

#include <functional>
#include <span>

#include "vibee/train/data/documents.h"

namespace vibee {

struct DocumentScan {
  std::vector<std::string> inputs;
  DocumentOptions options;
  uint32_t threads = 1;  ///< at least 1
};

struct ScanWork {
  /// A batch of so many documents comes.
  std::function<void(size_t count)> begin = [](size_t) {};
  /// Document `i` of the batch, on thread `tid`; of several errors that of the first document counts.
  std::function<Status(size_t i, uint32_t tid, const TextDocument&)> work;
  std::function<Status(std::span<const TextDocument>)> end = [](std::span<const TextDocument>) { return Status(); };
  /// Bytes read so far; stops the work by returning false.
  std::function<bool(uint64_t)> progress = [](uint64_t) { return true; };
};

/// The bytes of the inputs. A file without a document is an error.
Result<uint64_t> scan_documents(const DocumentScan& scan, const ScanWork& work);

}  // namespace vibee
