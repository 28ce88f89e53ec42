// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/interpret.h"

#include <numeric>

#include "vibee/base/random/philox.h"
#include "vibee/graph/exec/train_products.h"
#include "vibee/graph/pass/quantize_aware.h"
#include "vibee/kernels/pointwise/compress.h"

namespace vibee {
namespace {

Status read_weight(const FileWeights& weights, std::string_view name, TensorValue* v) {
  const auto at = weights.find(name);
  if (at == weights.end()) return error(Code::not_found, "no weight '{}' was given", name);
  if (v->type.elem.kind != Elem::stored)
    return error(Code::invalid, "weight '{}' has type {}", name, to_string(v->type));
  const NumericFormat& format = info(v->type.elem.format);
  const auto k = v->type.dims.empty() ? v->f.size() : uint64_t(v->type.dims.back().n);
  const uint64_t rows = v->f.size() / k, wanted = rows * format.row_bytes(k);
  if (k % format.block_elems != 0 || at->second.size() != wanted)
    return error(Code::invalid, "weight '{}' has {} bytes; {} takes {}", name, at->second.size(), to_string(v->type),
                 wanted);
  format.decode_rows(at->second.data(), rows, k, v->f.data());
  return {};
}
Status read_weight(const NamedNumbers<double>& weights, std::string_view name, TensorOf<double>* v) {
  const auto at = weights.find(name);
  if (at == weights.end() || at->second.size() != v->f.size())
    return error(Code::not_found, "no weight '{}' of {} elements was given", name, v->f.size());
  v->f = at->second;
  return {};
}

template <class T, class Weights>
Status read_source(const Node& node, const InterpretInputsOf<T>& inputs, const Weights& weights, TensorOf<T>* v) {
  const std::string_view name = node.text("name");
  switch (node.op) {
    case Op::constant: {
      VIBEE_ASSIGN(const std::vector<float> values, constant_values(node, v->type));
      v->f.assign(values.begin(), values.end());
      return {};
    }
    case Op::state: v->kv = inputs.state; return {};
    case Op::input: {
      const auto ints = inputs.integers.find(name);
      const auto floats = inputs.floats.find(name);
      if (v->type.elem == kI32 && ints != inputs.integers.end() && ints->second.size() == v->i.size()) {
        v->i = ints->second;
        return {};
      }
      if (v->type.elem.is_f32() && floats != inputs.floats.end() && floats->second.size() == v->f.size()) {
        v->f = floats->second;
        return {};
      }
      return error(Code::not_found, "no input '{}' of {} elements was given", name, v->i.size() + v->f.size());
    }
    default: return read_weight(weights, name, v);
  }
}

/// Rows as compression leaves them; exact ones stay as they are.
template <class T>
void evaluate_compress(const Node& node, const TensorOf<T>& x, const RoundingKey& rounding, TensorOf<T>* out) {
  out->f = x.f;
  if constexpr (std::is_same_v<T, float>) {
    const auto width = uint32_t(x.width());
    for (int64_t r = 0; r < x.rows(); ++r)
      compress_reference(&out->f[size_t(r * width)], width, uint32_t(node.integer("bits")),
                         compress_key(rounding, uint32_t(node.integer("array")), uint64_t(r), width));
  }
}

bool is_lora(Op op) { return op == Op::lora_down || op == Op::lora_up || op == Op::linear_lora; }

template <class T, class Weights>
Result<std::vector<TensorOf<T>>> run(const Graph& g, const InterpretInputsOf<T>& inputs, const Weights& weights,
                                     Sizes sizes, Noise noise) {
  VIBEE_TRY(verify(g));
  std::vector<int32_t> logits_rows = inputs.logits_rows;
  if (logits_rows.empty()) {
    logits_rows.resize(size_t(sizes.s));
    std::iota(logits_rows.begin(), logits_rows.end(), int32_t(sizes.t - sizes.s));
  }
  if (int64_t(logits_rows.size()) != sizes.s)
    return error(Code::invalid, "{} rows of logits, S is {}", logits_rows.size(), sizes.s);
  for (int32_t row : logits_rows)
    if (row < 0 || row >= sizes.t) return error(Code::invalid, "row of logits {} is not in 0 to {}", row, sizes.t - 1);

  RandomStream random(noise.seed, Purpose::test);
  std::vector<TensorOf<T>> values(g.values.size());
  for (size_t n = 0; n < g.nodes.size(); ++n) {
    const Node& node = g.nodes[n];
    const std::string where = fmt::format("node {} ({})", n, info(node.op).name);
    std::vector<TensorOf<T>> out;
    for (ValueId id : node.out) {
      auto value = make_value<T>(g.type(id), sizes);
      if (!value.ok()) return value.take_status().within(where);
      out.push_back(std::move(*value));
    }
    std::vector<const TensorOf<T>*> in;
    for (ValueId id : node.in) in.push_back(&values[id]);
    std::vector<TensorOf<T>> rounded;
    if (is_rounded_product(node) || is_rounded_loss(node) || is_stored_product(node)) {
      rounded = is_stored_product(node) ? stored_operands<T>(node, in) : rounded_operands<T>(node, in);
      for (size_t i = 0; i < rounded.size(); ++i) in[i] = &rounded[i];
    }
    const OpLevel level = info(node.op).level;
    const float apart = inputs.outlier_threshold;
    if (node.op == Op::compress) evaluate_compress(node, *in[0], inputs.rounding, &out[0]);
    VIBEE_TRY((node.op == Op::compress       ? Status()
               : level == OpLevel::source    ? read_source(node, inputs, weights, &out[0])
               : is_lora(node.op)            ? evaluate_lora<T>(node, in, inputs.lora, apart, &out[0])
               : level == OpLevel::primitive ? evaluate_primitive<T>(node, in, &out[0])
                                             : evaluate_composite<T>(node, in, logits_rows, apart, out))
                  .within(where));
    for (size_t i = 0; i < out.size(); ++i) {
      if (noise.relative > 0 && level != OpLevel::source)
        for (T& x : out[i].f) x = T(x * (1 + noise.relative * (2 * double(random.uniform()) - 1)));
      values[node.out[i]] = std::move(out[i]);
    }
  }
  std::vector<TensorOf<T>> result;
  for (ValueId id : g.outputs) result.push_back(values[id]);
  return result;
}

}  // namespace

Result<std::vector<TensorValue>> interpret(const Graph& graph, const InterpretInputs& inputs,
                                           const FileWeights& weights, Sizes sizes, Noise noise) {
  return run(graph, inputs, weights, sizes, noise);
}
Result<std::vector<TensorOf<double>>> interpret_exact(const Graph& graph, const InterpretInputsOf<double>& inputs,
                                                      const NamedNumbers<double>& weights, Sizes sizes) {
  return run(graph, inputs, weights, sizes, {});
}

}  // namespace vibee
