// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/adapter/adapter_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "vibee/base/text/quote.h"
#include "vibee/model/adapter/adapter_parts.h"
#include "vibee/model/layer/decoder.h"
#include "vibee/model/weight/hf_source.h"

namespace vibee {

std::vector<AdaptedProduct> adapted_products(const Graph& graph) {
  std::vector<AdaptedProduct> products;
  for (const Node& node : graph.nodes) {
    if (node.op != Op::lora_down && node.op != Op::lora_up && node.op != Op::linear_lora) continue;
    const auto target = size_t(node.integer("target"));
    if (products.size() <= target) products.resize(target + 1);
    if (node.op == Op::lora_down) {
      products[target].weight = node.text("name");
      products[target].k = uint32_t(graph.type(node.in[0]).dims[1].n);
    } else {
      products[target].n = uint32_t(graph.type(node.out[0]).dims[1].n);
    }
  }
  return products;
}

AdapterBuilder::AdapterBuilder(std::string path, std::span<const AdaptedProduct> products, uint32_t max_rank)
    : max_rank_(max_rank) {
  file_.path = std::move(path);
  for (const AdaptedProduct& p : products) {
    const WeightPart part = weight_part(p.weight);
    Size& size = sizes_[part.tensor];
    size.k = p.k;
    size.n = std::max(size.n, uint32_t(part.first) + p.n);
  }
}

Status AdapterBuilder::add(const std::string& tensor, std::string_view module, const AdapterPart& a,
                           const AdapterPart& b, float scale) {
  const std::string where = fmt::format("{}: {}", quote(file_.path, 400), quote(module));
  const Size size = sizes_.at(tensor);
  if (a.columns != size.k || b.rows != size.n || a.rows != b.columns)
    return error(Code::corrupt, "{}: A is {} x {} and B is {} x {}; the model's matrix is {} x {}", where, a.rows,
                 a.columns, b.rows, b.columns, size.n, size.k);
  if (a.rows == 0) return error(Code::corrupt, "{}: has rank 0", where);
  if (a.rows > max_rank_)
    return error(Code::invalid, "{}: has rank {}, at most {} fit; use a larger --max-lora-rank", where, a.rows,
                 max_rank_);
  if (b.head && (b.rows % b.head != 0 || b.head % 2 != 0))
    return error(Code::corrupt, "{}: has {} rows, which heads do not share in pairs", where, b.rows);
  if (!std::isfinite(scale)) return error(Code::corrupt, "{}: has the scale {}", where, scale);
  AdapterMatrix m{size.k, size.n, uint32_t(a.rows), scale, {}, {}};
  VIBEE_TRY(read(a, &m.a));
  VIBEE_TRY(read(b, &m.b));
  if (!file_.matrices.emplace(tensor, std::move(m)).second)
    return error(Code::corrupt, "{}: adapts the tensor {} a second time", where, quote(tensor));
  return {};
}

Status AdapterBuilder::read(const AdapterPart& part, std::vector<float>* out) const {
  const NumericFormat& format = info(part.format);
  if (part.columns % format.block_elems != 0)
    return error(Code::corrupt, "{}: tensor {}: rows of {} are not whole blocks of {}", quote(file_.path, 400),
                 quote(part.name), part.columns, format.name);
  const uint64_t row_bytes = format.row_bytes(part.columns);
  std::vector<uint8_t> raw(part.rows * row_bytes);
  VIBEE_TRY(part.read(0, raw));
  out->resize(part.rows * part.columns);
  for (uint64_t r = 0; r < part.rows; ++r) {
    const uint64_t from = part.head ? hf_row_of(r, part.head) : r;
    format.decode(raw.data() + from * row_bytes, part.columns, out->data() + r * part.columns);
  }
  for (float v : *out)
    if (!std::isfinite(v))
      return error(Code::corrupt, "{}: tensor {} holds {}", quote(file_.path, 400), quote(part.name), v);
  return {};
}

Result<AdapterFile> AdapterBuilder::finish() {
  if (file_.matrices.empty())
    return error(Code::corrupt, "{}: adapts nothing: it has no tensors of A and B", quote(file_.path, 400));
  return std::move(file_);
}

Result<AdapterFile> read_adapter(const std::string& path, const ModelConfig& base,
                                 std::span<const AdaptedProduct> products, uint32_t max_rank) {
  std::error_code ignored;
  AdapterBuilder builder(path, products, max_rank);
  return std::filesystem::is_directory(path, ignored) ? read_peft_adapter(path, base, std::move(builder))
                                                      : read_gguf_adapter(path, base, std::move(builder));
}

}  // namespace vibee
