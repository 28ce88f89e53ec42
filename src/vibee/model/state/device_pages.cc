// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/state/device_pages.h"

namespace vibee {

Result<std::unique_ptr<DevicePages>> DevicePages::create(std::shared_ptr<DeviceRuntime> runtime, DevicePool& pool,
                                                         std::span<const KvLayout> layers, uint32_t pages) {
  std::unique_ptr<DevicePages> out(new DevicePages);
  VIBEE_ASSIGN(out->block_, pool.take(bytes(layers, pages)));
  out->runtime_ = runtime;
  out->page_bytes_ = PageStore::page_bytes(layers);
  CudaAddress at = out->block_.address();
  for (const KvLayout& layer : layers) {
    out->views_.push_back({at, out->page_bytes_, layer});
    at += layer.layer_bytes();
  }
  // Lanes behind a sequence's end are read, though nothing comes of them: they are numbers.
  CudaDevice& d = *runtime->device;
  VIBEE_TRY(d.call(
      d.driver().fill, [&] { return fmt::format("{} pages", pages); }, out->block_.address(), (unsigned char)0,
      size_t(out->block_.bytes()), runtime->stream.get()));
  return out;
}

DevicePages::~DevicePages() {
  if (runtime_) (void)runtime_->stream.synchronize();  // pages that were cleared and never used
}

Status DevicePages::clear(uint32_t page) {
  CudaDevice& d = *runtime_->device;
  return d.call(
      d.driver().fill, [&] { return fmt::format("page {}", page); }, at(page), (unsigned char)0, size_t(page_bytes_),
      runtime_->stream.get());
}

Status DevicePages::copy(uint32_t to, uint32_t from) {
  CudaDevice& d = *runtime_->device;
  return d.call(
      d.driver().copy_within, [&] { return fmt::format("page {} to {}", from, to); }, at(to), at(from),
      size_t(page_bytes_), runtime_->stream.get());
}

}  // namespace vibee
