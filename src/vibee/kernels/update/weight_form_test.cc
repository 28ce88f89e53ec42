// SPDX-License-Identifier: Apache-2.0
// Forms of weights: what they keep, on every instruction set with the same bytes, cut anywhere.
#include "vibee/kernels/update/weight_form.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"

namespace vibee {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
float number(uint32_t x) { return std::bit_cast<float>(x); }

/// Elements in a form, and what a step does to them.
struct Array {
  WeightForm form;
  std::vector<uint8_t> copy, rest;
  Array(WeightForm form, size_t n) : form(form), copy(n * info(form).copy_bytes()), rest(n * info(form).rest_bytes) {}
  std::vector<float> load(Isa isa = Isa::scalar) const {
    std::vector<float> x(copy.size() / info(form).copy_bytes());
    info(form).kernels[size_t(isa)].load(copy.data(), rest.data(), x.size(), x.data());
    return x;
  }
  /// In blocks of so many elements.
  void store(const std::vector<float>& x, uint64_t step = 1, Isa isa = Isa::scalar, uint64_t block = UINT64_MAX) {
    const WeightFormInfo& f = info(form);
    for (uint64_t at = 0; at < x.size(); at += std::min<uint64_t>(block, x.size()))
      f.kernels[size_t(isa)].store(x.data() + at, std::min<uint64_t>(block, x.size() - at),
                                   {7, Purpose::rounding, step, 3, at}, copy.data() + at * f.copy_bytes(),
                                   rest.data() + at * f.rest_bytes);
  }
  const uint16_t* halves() const { return reinterpret_cast<const uint16_t*>(copy.data()); }
};

std::vector<float> values(size_t n) {
  RandomStream random(2, Purpose::test);
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = random.normal() * std::ldexp(1.0f, int(i % 30) - 20);
  const float edges[] = {0.0f,        -0.0f,        0x1p-149f, -0x1p-126f, 0x1.fffffep127f,
                         1.00390625f, -1.01171875f, 65504,     0x1p-24f};
  std::copy(std::begin(edges), std::end(edges), x.begin());
  return x;
}

TEST(WeightForm, HasTheSameBytesOnEveryInstructionSetCutAnywhere) {
  for (const WeightFormInfo& form : weight_forms()) {
    for (const size_t n : {9u, 128u, 300u, 5000u}) {
      const std::vector<float> x = values(n);
      std::vector<float> moved = x;
      for (float& m : moved) m *= 1.001f;
      Array want(form.form, n);
      want.store(x);
      want.store(moved, uint64_t(1) << 33);
      for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (isa > detected_isa()) continue;
        Array got(form.form, n);
        got.store(x, 1, isa, 2048);
        got.store(moved, uint64_t(1) << 33, isa, 256);
        EXPECT_EQ(got.copy, want.copy) << form.name << " " << name(isa);
        EXPECT_EQ(got.rest, want.rest) << form.name << " " << name(isa);
        const std::vector<float> a = got.load(isa), b = want.load();
        EXPECT_EQ(0, std::memcmp(a.data(), b.data(), 4 * n)) << form.name;
      }
      EXPECT_EQ(form.name, info(form.form).name);
    }
  }
}

TEST(WeightForm, CopiesAreRoundedToNearest) {
  const std::vector<float> x = values(4096);
  Array bf16(WeightForm::bf16, x.size()), f16(WeightForm::f16, x.size()), f16_master(WeightForm::f16_master, x.size());
  bf16.store(x), f16.store(x), f16_master.store(x);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(bf16.halves()[i], float_to_bf16(x[i])) << x[i];
    ASSERT_EQ(f16.halves()[i], float_to_half(x[i])) << x[i];
    ASSERT_EQ(f16_master.halves()[i], float_to_half(x[i])) << x[i];
    ASSERT_EQ(bits(f16_master.load()[i]), bits(x[i]));
    if (i > 20) i += 97;
  }
}

/// Every upper half with the lower halves where rounding turns: the number comes back, the copy is that of a master.
TEST(WeightForm, SplitIsTheMasterInTwoHalves) {
  const uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1234, 0xcdef};
  for (uint32_t at = 0; at < 0x10000; at += 0x2000) {
    std::vector<float> x;
    for (uint32_t hi = at; hi < at + 0x2000; ++hi)
      for (const uint32_t lo : lower) x.push_back(number(hi << 16 | lo));
    for (const Isa isa : {Isa::scalar, detected_isa()}) {
      Array split(WeightForm::bf16_split, x.size()), master(WeightForm::bf16_master, x.size());
      split.store(x, 1, isa), master.store(x, 1, isa);
      const std::vector<float> back = split.load(isa);
      ASSERT_EQ(0, std::memcmp(back.data(), x.data(), 4 * x.size())) << at;
      ASSERT_EQ(split.copy, master.copy) << at;
    }
  }
}

/// All 2^16 random numbers once: the mean is the number, exactly, in integers of the last place of a float.
TEST(WeightForm, RandomRoundingIsUnbiased) {
  RandomStream random(3, Purpose::test);
  std::vector<float> numbers = {1.0f,        -1.0f,           0x1.fffffep0f, -0x1.ffff02p-3f, 0x1.8p-140f, -0x1.2p-149f,
                                0x1.0002p0f, 0x1.fdfffep127f, 0.0f,          0x1.000002p-126f};
  while (numbers.size() < 64) numbers.push_back(random.normal() * std::ldexp(1.0f, int(numbers.size()) - 30));
  for (const float x : numbers) {
    uint64_t sum = 0;
    const uint32_t magnitude = bits(x) & 0x7fffffffu;
    for (uint32_t r = 0; r < 0x10000; ++r) {
      // What the kernel does, with the bits given; the kernel itself is held against it below.
      const uint32_t up = (magnitude + r) >> 16;
      sum += uint64_t(up) << 16;
    }
    EXPECT_EQ(sum, uint64_t(magnitude) << 16) << x;
  }
  // Numbers above the largest of bf16 stay finite; NaN and infinities stay what they are.
  std::vector<float> x = numbers;
  for (const uint32_t b : {0x7f7fffffu, 0xff7fffffu, 0x7f7f0001u, 0x7f800000u, 0xff800000u, 0x7f800001u, 0xffffffffu})
    x.push_back(number(b));
  for (uint64_t step = 0; step < 500; ++step) {
    Array a(WeightForm::bf16_sr, x.size());
    a.store(x, step, step % 2 ? detected_isa() : Isa::scalar);
    for (size_t i = 0; i < x.size(); ++i) {
      const uint32_t b = bits(x[i]), magnitude = b & 0x7fffffffu, got = a.halves()[i];
      ASSERT_EQ(got >> 15, b >> 31);
      if (magnitude > 0x7f800000u) {
        ASSERT_GT(got & 0x7fffu, 0x7f80u);
      } else if (magnitude == 0x7f800000u) {
        ASSERT_EQ(got & 0x7fffu, 0x7f80u);
      } else {
        const uint32_t up = (magnitude + rounding_bits({7, Purpose::rounding, step, 3, 0}, i)) >> 16;
        ASSERT_EQ(got & 0x7fffu, std::min(up, 0x7f7fu)) << x[i] << " " << step;
        ASSERT_TRUE((b & 0xffff) != 0 || got == b >> 16) << x[i];  // what bf16 has is not rounded
      }
    }
  }
}

TEST(WeightForm, RandomNumbersAreOfTheElement) {
  // No two of many elements, arrays and steps share their numbers.
  std::vector<uint64_t> first;
  for (const uint32_t array : {0u, 1u, 77u})
    for (const uint64_t step : {uint64_t(1), uint64_t(2), uint64_t(1) << 32})
      for (const uint64_t element : {0u, 128u, 1u << 20}) {
        uint64_t four = 0;
        for (uint64_t i = 0; i < 4; ++i)
          four = four << 16 | rounding_bits({7, Purpose::rounding, step, array, 0}, element + i);
        first.push_back(four);
      }
  std::sort(first.begin(), first.end());
  EXPECT_EQ(std::adjacent_find(first.begin(), first.end()), first.end());
  double sum = 0;
  for (uint64_t i = 0; i < 65536; ++i) sum += rounding_bits({7, Purpose::rounding, 1, 0, 0}, i);
  EXPECT_NEAR(sum / 65536, 32767.5, 4 * 18918.0 / 256);
}

/// 2^17 updates of 2^-12 up and down between 1 and 4: the compensated sum is there, the plain one never moves. What is
/// below 2^-17 of the number would be lost by a compensation in bf16, too.
TEST(WeightForm, KahanKeepsWhatRoundingLoses) {
  Array kahan(WeightForm::bf16_kahan, 16), plain(WeightForm::bf16, 16);
  const std::vector<float> one(16, 1.0f);
  kahan.store(one), plain.store(one);
  double exact = 1;
  for (int t = 0; t < 1 << 17; ++t) {
    const float by = t / 12288 % 2 == 0 ? 0x1p-12f : -0x1p-12f;
    exact += double(by);
    for (Array* a : {&kahan, &plain}) {
      std::vector<float> x = a->load();
      for (float& v : x) v += by;
      a->store(x);
    }
  }
  EXPECT_GT(exact, 2);
  EXPECT_NEAR(kahan.load()[3], exact, 2 * 0x1p-6);
  EXPECT_EQ(plain.load()[3], 1.0f);
}

}  // namespace
}  // namespace vibee
