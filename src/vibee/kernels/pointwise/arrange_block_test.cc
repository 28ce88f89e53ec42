// SPDX-License-Identifier: Apache-2.0
// Block programs that move numbers, by the bytes of plain loops over indices.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "vibee/kernels/pointwise/arrange_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

template <class T>
TrialArray<T> bits(uint64_t n, uint32_t stream, uint32_t lead = 0) {
  RandomStream random(21, Purpose::test, stream);
  TrialArray<T> v(n, lead);
  for (uint64_t i = 0; i < n; ++i) v[i] = T(random.below(0x10000) << (sizeof(T) == 4 ? 13 : 0));
  return v;
}
template <class T>
std::string kernel_name(const char* what) {
  return fmt::format("vibee_{}_{}", what, sizeof(T) * 8);
}

/// What `args` makes of x, element by element.
template <class T>
void expect_copy(const StridedCopyArgs& args, const TrialArray<T>& x, TrialArray<T>& out) {
  TrialArray<T> want(out.size());
  for (uint64_t i = 0; i < out.size(); ++i) want[i] = out[i];
  for (uint64_t i = 0; i < copied_elements(args); ++i) {
    uint64_t left = i, from = args.x_begin, to = args.out_begin;
    bool reads = true;
    for (uint32_t d = args.dims; d-- > 0; left /= args.dim[d].size) {
      const CopyDim& dim = args.dim[d];
      const uint64_t at = left % dim.size;
      reads = reads && at >= dim.first && at < uint64_t(dim.first) + dim.have;
      from += (at - dim.first) * dim.x, to += at * dim.out;
    }
    want[to] = reads ? x[from] : T{};
  }
  const Status status =
      run_kernel(kernel_name<T>("strided_copy"), strided_copy_launch(args), args, {x.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(out, want));
}

template <class T>
void expect_columns(uint32_t rows, uint32_t n, uint32_t lead) {
  const auto x = bits<T>(uint64_t(rows) * n, 1, lead), y = bits<T>(uint64_t(rows) * 8, 2, lead);
  const uint32_t begin = n > 16 ? 8 : n / 3, kept = n - begin;
  TrialArray<T> whole(uint64_t(rows) * n, lead), part(uint64_t(rows) * kept, lead);
  expect_copy(copy_whole(x.data(), whole.data(), rows * n), x, whole);
  EXPECT_TRUE(same_bytes(whole, x));
  expect_copy(copy_columns(x.data(), n, begin, part.data(), kept, 0, rows, kept), x, part);  // slice
  TrialArray<T> both(uint64_t(rows) * (n + 8), lead);                                        // concat
  expect_copy(copy_columns(x.data(), n, 0, both.data(), n + 8, 0, rows, n), x, both);
  expect_copy(copy_columns(y.data(), 8, 0, both.data(), n + 8, n, rows, 8), y, both);
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t c = 0; c < n + 8; ++c)
      ASSERT_EQ(both[uint64_t(r) * (n + 8) + c], c < n ? x[uint64_t(r) * n + c] : y[uint64_t(r) * 8 + c - n]);
  for (const auto& [before, after] : {std::pair(8u, 16u), {3u, 0u}, {0u, 1u}}) {
    TrialArray<T> padded = bits<T>(uint64_t(rows) * (before + n + after), 3, lead);
    expect_copy(pad_columns(x.data(), padded.data(), rows, n, before, after), x, padded);
  }
  TrialArray<T> zeros = bits<T>(uint64_t(rows) * n, 4, lead);
  expect_copy(fill_zeros(zeros.data(), rows * n), x, zeros);
}

TEST(ArrangeBlock, ColumnsOfMatrices) {
  for (const auto& [rows, n] : {std::pair(1u, 1u), {3u, 5u}, {7u, 64u}, {5u, 129u}, {37u, 72u}, {0u, 8u}})
    for (const uint32_t lead : {0u, 1u}) {
      expect_columns<uint32_t>(rows, n, lead);
      expect_columns<uint16_t>(rows, n, lead);
    }
}

TEST(ArrangeBlock, ExpandRepeatsWhatIsOne) {
  const uint32_t sizes[] = {3, 2, 5, 8};
  for (uint32_t mask = 0; mask < 16; ++mask) {
    uint32_t from[4];
    for (uint32_t d = 0; d < 4; ++d) from[d] = mask >> d & 1 ? 1 : sizes[d];
    const auto x = bits<uint32_t>(from[0] * from[1] * from[2] * from[3], mask);
    TrialArray<uint32_t> out(3 * 2 * 5 * 8);
    expect_copy(expand_copy(x.data(), from, out.data(), sizes, 4), x, out);
    const auto at = [&](uint32_t d, uint32_t i) { return from[d] == 1 ? 0 : i; };
    EXPECT_EQ(out[((2 * 2 + 1) * 5 + 3) * 8 + 7],
              x[((uint64_t(at(0, 2)) * from[1] + at(1, 1)) * from[2] + at(2, 3)) * from[3] + at(3, 7)]);
  }
}

TEST(ArrangeBlock, SixDimensionsInAnyOrder) {
  const uint32_t sizes[] = {2, 3, 1, 4, 5, 8};
  const auto x = bits<uint16_t>(960, 1);
  uint32_t order[] = {0, 1, 2, 3, 4, 5};
  RandomStream random(3, Purpose::test);
  for (int trial = 0; trial < 8; ++trial) {
    StridedCopyArgs args{x.data(), nullptr, 0, 0, 6, {}};
    TrialArray<uint16_t> out(960);
    args.out = out.data();
    uint64_t stride = 1;
    for (uint32_t d = 6; d-- > 0; stride *= sizes[order[d]]) {
      uint64_t from = 1;
      for (uint32_t e = order[d] + 1; e < 6; ++e) from *= sizes[e];
      args.dim[d] = {sizes[order[d]], 0, sizes[order[d]], from, stride};
    }
    expect_copy(args, x, out);
    for (uint32_t d = 5; d > 0; --d) std::swap(order[d], order[random.below(d + 1)]);
  }
}

template <class T>
void expect_transpose(uint32_t rows, uint32_t columns) {
  const auto x = bits<T>(uint64_t(rows) * columns, 1);
  TrialArray<T> out(uint64_t(rows) * columns);
  const Status status = run_kernel(kernel_name<T>("transpose"), transpose_launch(rows, columns),
                                   TransposeArgs{x.data(), out.data(), rows, columns}, {x.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t c = 0; c < columns; ++c)
      ASSERT_EQ(out[uint64_t(c) * rows + r], x[uint64_t(r) * columns + c]) << rows << " " << columns;
}

TEST(ArrangeBlock, Transpose) {
  for (const auto& [rows, columns] : {std::pair(1u, 1u), {1u, 70u}, {33u, 1u}, {32u, 64u}, {31u, 97u}, {0u, 5u}}) {
    expect_transpose<uint32_t>(rows, columns);
    expect_transpose<uint16_t>(rows, columns);
  }
}

template <class T>
void expect_permuted(uint32_t rows, uint32_t n) {
  const auto x = bits<T>(uint64_t(rows) * n, 1);
  TrialArray<float> order(n);
  std::iota(order.data(), order.data() + n, 0.0f);
  RandomStream random(5, Purpose::test);
  for (uint32_t i = n; i-- > 1;) std::swap(order[i], order[random.below(i + 1)]);
  for (const uint32_t inverse : {0u, 1u}) {
    TrialArray<T> out(uint64_t(rows) * n);
    const Status status = run_kernel(kernel_name<T>("permute_columns"), permute_columns_launch(rows, n),
                                     PermuteColumnsArgs{x.data(), order.data(), out.data(), n, inverse},
                                     {x.memory(), order.memory()}, {out.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t i = 0; i < n; ++i) {
        const uint64_t other = uint64_t(r) * n + uint64_t(order[i]), same = uint64_t(r) * n + i;
        ASSERT_EQ(out[inverse ? other : same], x[inverse ? same : other]);
      }
  }
}

TEST(ArrangeBlock, PermutedColumns) {
  for (const uint32_t n : {1u, 31u, 64u, 300u}) {
    expect_permuted<uint32_t>(3, n);
    expect_permuted<uint16_t>(2, n);
  }
}

TEST(ArrangeBlock, SelectTakesTheFirstWhereItIsNotZero) {
  for (const uint64_t n : {1u, 31u, 2048u, 4099u}) {
    auto when = normals<float>(n, 1);
    const auto a = normals<float>(n, 2), c = normals<float>(n, 3);
    for (uint64_t i = 0; i < n; i += 2) when[i] = i % 4 ? 0.0f : -0.0f;
    if (n > 1) when[1] = NAN;
    TrialArray<float> out(n);
    const Status status =
        run_kernel("vibee_select_f32", select_launch(n), SelectArgs{when.data(), a.data(), c.data(), out.data(), n},
                   {when.memory(), a.memory(), c.memory()}, {out.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    for (uint64_t i = 0; i < n; ++i) ASSERT_EQ(out[i], when[i] != 0 ? a[i] : c[i]) << i;
  }
}

TEST(ArrangeBlock, ACopyBeyondItsArrayIsFound) {
  const auto x = bits<uint32_t>(63, 1);
  TrialArray<uint32_t> out(64);
  const StridedCopyArgs args = copy_whole(x.data(), out.data(), 64);
  EXPECT_EQ(run_kernel("vibee_strided_copy_32", strided_copy_launch(args), args, {x.memory()}, {out.memory()}).code(),
            Code::invalid);
}

}  // namespace
}  // namespace vibee
