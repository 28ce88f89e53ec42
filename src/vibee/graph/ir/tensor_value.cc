// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/ir/tensor_value.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "vibee/base/math/half.h"

namespace vibee {
namespace {

constexpr int64_t kMostElements = int64_t(1) << 28;  ///< of an evaluated value
constexpr int64_t kMostConstants = int64_t(1) << 20;

double binary(Op op, double a, double b) {
  switch (op) {
    case Op::add: return a + b;
    case Op::sub: return a - b;
    case Op::mul: return a * b;
    case Op::div: return a / b;
    case Op::maximum: return a > b ? a : b;
    case Op::minimum: return a < b ? a : b;
    default: return a < b ? 1 : 0;  // less
  }
}

double unary(Op op, double a) {
  switch (op) {
    case Op::neg: return -a;
    case Op::abs: return std::fabs(a);
    case Op::exp: return std::exp(a);
    case Op::log: return std::log(a);
    case Op::sqrt: return std::sqrt(a);
    default: return std::tanh(a);
  }
}

/// The number that a 16-bit float nearest to x stands for.
float cast_to(Format format, float x) {
  return format == Format::bf16 ? bf16_to_float(float_to_bf16(x)) : half_to_float(float_to_half(x));
}

/// Index into an operand that is broadcast to `dims` from the right.
size_t broadcast_index(size_t at, const std::vector<int64_t>& dims, const std::vector<int64_t>& from) {
  size_t index = 0, stride = 1;
  for (size_t back = 1; back <= dims.size(); ++back) {
    const auto n = size_t(dims[dims.size() - back]);
    if (back <= from.size()) {
      const auto m = size_t(from[from.size() - back]);
      if (m != 1) index += at % n * stride;
      stride *= m;
    }
    at /= n;
  }
  return index;
}

}  // namespace

template <class T>
Result<TensorOf<T>> make_value(const Type& type, Sizes sizes) {
  TensorOf<T> v;
  v.type = type;
  if (type.elem.kind == Elem::state) return v;
  int64_t n = 1;
  for (Dim d : type.dims) {
    const int64_t size = value(d, sizes);
    if (size < 0 || (size > 0 && n > kMostElements / size))
      return error(Code::no_memory, "a value of type {} has more than {} elements", to_string(type), kMostElements);
    n *= size;
    v.dims.push_back(size);
  }
  if (type.elem.kind == Elem::i32) {
    v.i.resize(size_t(n));
  } else {
    v.f.resize(size_t(n));
  }
  return v;
}
template Result<TensorOf<float>> make_value(const Type&, Sizes);
template Result<TensorOf<double>> make_value(const Type&, Sizes);

namespace {

/// Calls f(value) for each number of a values text; false when something in it is not a number.
template <class F>
bool each_value(std::string_view text, F&& f) {
  const char *at = text.data(), *end = text.data() + text.size();
  while (at != end) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    float x = 0;
    const auto [next, err] = std::from_chars(at, end, x);
    if (err != std::errc() || (next != end && *next != ' ')) return false;
    f(x);
    at = next;
  }
  return true;
}

}  // namespace

Status check_constant(const Node& node, const Type& type) {
  const auto wrong = [&](std::string_view why) {
    return error(Code::invalid, "[constant] {}; declared {}", why, to_string(type));
  };
  if (!type.elem.is_f32()) return wrong("must be f32");
  int64_t n = 1;
  for (Dim d : type.dims) {
    if (d.symbol != 0 || d.n <= 0 || n > kMostConstants / d.n)
      return wrong(fmt::format("must have at most {} elements", kMostConstants));
    n *= d.n;
  }
  const Attr *one = node.find("value"), *many = node.find("values");
  if ((one == nullptr) == (many == nullptr)) return wrong("needs either value=NUMBER or values=\"NUMBER ...\"");
  if (one) return std::holds_alternative<std::string>(*one) ? wrong("needs a number as value") : Status();
  if (!std::holds_alternative<std::string>(*many)) return wrong("needs a text of numbers as values");
  int64_t count = 0;
  if (!each_value(std::get<std::string>(*many), [&](float) { ++count; }))
    return wrong(fmt::format("value {} is not a number", count));
  return count == n ? Status() : wrong(fmt::format("has {} values, not {}", count, n));
}

Result<std::vector<float>> constant_values(const Node& node, const Type& type) {
  VIBEE_TRY(check_constant(node, type));
  if (node.has("value")) return std::vector<float>(size_t(elements(type, {})), float(node.number("value")));
  std::vector<float> values;
  each_value(node.text("values"), [&](float x) { values.push_back(x); });
  return values;
}

Attrs constant_attrs(std::span<const float> values) {
  const auto same = [&](float x) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(values[0]); };
  if (std::all_of(values.begin(), values.end(), same)) return {{"value", double(values[0])}};
  std::string text;
  for (float x : values) text += fmt::format("{}{}", text.empty() ? "" : " ", x);
  return {{"values", std::move(text)}};
}

template <class T>
Status evaluate_primitive(const Node& node, std::span<const TensorOf<T>* const> in, TensorOf<T>* out) {
  const std::vector<T>& a = in[0]->f;
  std::vector<T>& y = out->f;
  switch (node.op) {
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::maximum:
    case Op::minimum:
    case Op::less:
      for (size_t i = 0; i < y.size(); ++i)
        y[i] = T(binary(node.op, a[broadcast_index(i, out->dims, in[0]->dims)],
                        in[1]->f[broadcast_index(i, out->dims, in[1]->dims)]));
      return {};
    case Op::neg:
    case Op::abs:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
    case Op::tanh:
      for (size_t i = 0; i < y.size(); ++i) y[i] = T(unary(node.op, a[i]));
      return {};
    case Op::select:
      for (size_t i = 0; i < y.size(); ++i) y[i] = a[i] != 0 ? in[1]->f[i] : in[2]->f[i];
      return {};
    case Op::cast:
      for (size_t i = 0; i < y.size(); ++i) y[i] = T(cast_to(out->type.elem.format, float(a[i])));
      if (out->type.elem.is_f32()) y = a;
      return {};
    case Op::decompress:
    case Op::reshape: y = a; return {};
    case Op::transpose:
      for (int64_t r = 0; r < out->rows(); ++r)
        for (int64_t c = 0; c < out->width(); ++c) y[size_t(r * out->width() + c)] = a[size_t(c * out->rows() + r)];
      return {};
    case Op::slice:
      for (int64_t r = 0; r < out->rows(); ++r)
        for (int64_t c = 0; c < out->width(); ++c)
          y[size_t(r * out->width() + c)] = a[size_t(r * in[0]->width() + node.integer("begin") + c)];
      return {};
    case Op::concat:
      for (int64_t r = 0; r < out->rows(); ++r)
        for (int64_t c = 0; c < out->width(); ++c) {
          const int64_t left = in[0]->width();
          y[size_t(r * out->width() + c)] =
              c < left ? a[size_t(r * left + c)] : in[1]->f[size_t(r * in[1]->width() + c - left)];
        }
      return {};
    case Op::sum:
    case Op::reduce_max:
      for (int64_t r = 0; r < in[0]->rows(); ++r) {
        double all = node.op == Op::sum ? 0 : -INFINITY;
        for (int64_t c = 0; c < in[0]->width(); ++c) {
          const double x = a[size_t(r * in[0]->width() + c)];
          all = node.op == Op::sum ? all + x : (x > all ? x : all);
        }
        y[size_t(r)] = T(all);
      }
      return {};
    case Op::matmul:
      for (int64_t r = 0; r < out->rows(); ++r)
        for (int64_t c = 0; c < out->width(); ++c) {
          double dot = 0;
          for (int64_t k = 0; k < in[0]->width(); ++k)
            dot += double(a[size_t(r * in[0]->width() + k)]) * in[1]->f[size_t(k * out->width() + c)];
          y[size_t(r * out->width() + c)] = T(dot);
        }
      return {};
    case Op::gather:
      for (int64_t r = 0; r < out->rows(); ++r) {
        const int32_t index = in[0]->i[size_t(r)];
        if (index < -1 || index >= in[1]->rows())
          return error(Code::invalid, "[gather] index {} in row {} is not in -1 to {}", index, r, in[1]->rows() - 1);
        if (index >= 0)
          std::copy_n(in[1]->f.begin() + index * out->width(), out->width(), y.begin() + r * out->width());
      }
      return {};
    case Op::permute_columns: {
      const auto width = size_t(out->width());
      for (size_t i = 0; i < width; ++i) {
        const auto other = double(in[1]->f[i]);
        if (!(other >= 0 && other < double(width)))
          return error(Code::invalid, "[permute_columns] column {} of {}", other, width);
        const size_t from = node.integer("inverse") ? i : size_t(other),
                     to = node.integer("inverse") ? size_t(other) : i;
        for (size_t r = 0; r < size_t(out->rows()); ++r) y[r * width + to] = a[r * width + from];
      }
      return {};
    }
    case Op::scatter: {
      std::vector<double> sums(y.size());
      for (int64_t r = 0; r < in[1]->rows(); ++r) {
        const int32_t index = in[0]->i[size_t(r)];
        if (index < -1 || index >= out->rows())
          return error(Code::invalid, "[scatter] index {} in row {} is not in -1 to {}", index, r, out->rows() - 1);
        for (int64_t c = 0; index >= 0 && c < out->width(); ++c)
          sums[size_t(index * out->width() + c)] += in[1]->f[size_t(r * out->width() + c)];
      }
      std::copy(sums.begin(), sums.end(), y.begin());
      return {};
    }
    case Op::expand:
      for (size_t i = 0; i < y.size(); ++i) y[i] = a[broadcast_index(i, out->dims, in[0]->dims)];
      return {};
    case Op::sum_to: {
      std::vector<double> sums(y.size());
      for (size_t i = 0; i < a.size(); ++i) sums[broadcast_index(i, in[0]->dims, out->dims)] += a[i];
      std::copy(sums.begin(), sums.end(), y.begin());
      return {};
    }
    case Op::pad:
      for (int64_t r = 0; r < out->rows(); ++r)
        std::copy_n(a.begin() + r * in[0]->width(), in[0]->width(),
                    y.begin() + r * out->width() + node.integer("before"));
      return {};
    default: return error(Code::unsupported, "[{}] is not a primitive op", info(node.op).name);
  }
}

template Status evaluate_primitive(const Node&, std::span<const TensorOf<float>* const>, TensorOf<float>*);
template Status evaluate_primitive(const Node&, std::span<const TensorOf<double>* const>, TensorOf<double>*);

}  // namespace vibee
