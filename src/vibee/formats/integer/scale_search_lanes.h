// SPDX-License-Identifier: Apache-2.0
// The searches of scale_search.h on V16; included by scale_search_<isa>.cc only.
//
// A fit of one sub-block takes codes from a scale that is tried, and from these codes the scale of least error in
// closed form; the best of a grid is taken as the start of two more rounds. Where sub-blocks share a superblock their
// scales are rounded to its grid, each with its neighbours tried, and the superblock's own scale is fitted again to the
// codes.
#pragma once

#include <cmath>

#include "vibee/base/simd/v16.h"
#include "vibee/formats/integer/scale_search.h"

namespace vibee {
namespace {

/// Numbers and their weights, element by element across sub-blocks.
struct Lanes {
  alignas(64) float x[kMostSubBlock * kSearchLanes];
  alignas(64) float w[kMostSubBlock * kSearchLanes];
  int n;
  V16 at(int i) const { return v_load(x + i * kSearchLanes); }
  V16 weight(int i) const { return v_load(w + i * kSearchLanes); }
};

void gather(const float* x, const float* importance, int n, int count, Lanes* to) {
  to->n = n;
  for (int l = 0; l < kSearchLanes; ++l) {
    for (int i = 0; i < n; ++i) {
      to->x[i * kSearchLanes + l] = l < count ? x[l * n + i] : 0.0f;
      to->w[i * kSearchLanes + l] = importance != nullptr && l < count ? importance[l * n + i] : 1.0f;
    }
  }
}

V16 nearest(V16 v, V16 low, V16 high) { return v_round(v_min(v_max(v, low), high)); }
V16 inverse(V16 d) { return v_select(v_less(v_zero(), v_abs(d)), v_set(1.0f) / d, v_zero()); }
M16 both(M16 a, M16 b) { return m_from_bits(m_bits(a) & m_bits(b)); }
/// The nearest halves, never infinite.
V16 half_grid(V16 v) {
  uint16_t halves[kSearchLanes];
  v_store_half(halves, v_min(v_max(v, v_set(-65504.0f)), v_set(65504.0f)));
  return v_load_half(halves);
}

void store_codes(const V16* codes, int n, Searched* out) {
  alignas(64) float lanes[kSearchLanes];
  for (int i = 0; i < n; ++i) {
    v_store(lanes, codes[i]);
    for (int l = 0; l < kSearchLanes; ++l) out->codes[l * n + i] = uint8_t(lanes[l]);
  }
}

/// The largest value of each group of lanes, in all its lanes; of largest magnitude where `by_magnitude`.
void spread_most(const float* lanes, int group, bool by_magnitude, float* out) {
  for (int first = 0; first < kSearchLanes; first += group) {
    float most = 0;
    for (int l = first; l < first + group; ++l)
      if (by_magnitude ? std::fabs(lanes[l]) > std::fabs(most) : lanes[l] > most) most = lanes[l];
    for (int l = first; l < first + group; ++l) out[l] = most;
  }
}
void spread_sum(const float* lanes, int group, double* out) {
  for (int first = 0; first < kSearchLanes; first += group) {
    double sum = 0;
    for (int l = first; l < first + group; ++l) sum += double(lanes[l]);
    for (int l = first; l < first + group; ++l) out[l] = sum;
  }
}

// ---- x = scale * u + low

struct AffineFit {
  V16 scale, low, error;
};

/// Takes the codes that (iscale, low) gives, and keeps their best scale and low where these are better.
void try_affine(const Lanes& b, V16 iscale, V16 low, const V16* sums, bool below_zero, V16 top, AffineFit* best) {
  V16 su = v_zero(), suu = v_zero(), sux = v_zero();
  for (int i = 0; i < b.n; ++i) {
    const V16 x = b.at(i), u = nearest((x - low) * iscale, v_zero(), top), wu = b.weight(i) * u;
    su = su + wu;
    suu = v_fma(wu, u, suu);
    sux = v_fma(wu, x, sux);
  }
  const V16 sw = sums[0], sx = sums[1], sxx = sums[2];
  const V16 determinant = sw * suu - su * su, id = v_set(1.0f) / determinant;
  V16 scale = (sw * sux - su * sx) * id, offset = (suu * sx - su * sux) * id;
  if (below_zero) {
    const M16 above = v_less(v_zero(), offset);
    scale = v_select(above, sux / suu, scale);
    offset = v_select(above, v_zero(), offset);
  }
  const V16 error = sxx - scale * sux - offset * sx;
  const M16 better = both(v_less(error, best->error), v_less(v_zero(), determinant));
  best->scale = v_select(better, scale, best->scale);
  best->low = v_select(better, offset, best->low);
  best->error = v_select(better, error, best->error);
}

AffineFit fit_affine(const Lanes& b, float top, bool below_zero) {
  V16 low = below_zero ? v_zero() : b.at(0), high = b.at(0), sums[3] = {v_zero(), v_zero(), v_zero()};
  for (int i = 0; i < b.n; ++i) {
    const V16 x = b.at(i), wx = b.weight(i) * x;
    low = v_min(x, low);
    high = v_max(x, high);
    sums[0] = sums[0] + b.weight(i);
    sums[1] = sums[1] + wx;
    sums[2] = v_fma(wx, x, sums[2]);
  }
  const V16 range = high - low, irange = v_select(v_less(v_zero(), range), v_set(1.0f) / range, v_zero());
  AffineFit best{v_max(range, v_zero()) * v_set(1.0f / top), low, v_set(INFINITY)};
  for (int step = -10; step <= 14; ++step)
    try_affine(b, v_set(top + 0.1f * float(step)) * irange, low, sums, below_zero, v_set(top), &best);
  for (int round = 0; round < 2; ++round)
    try_affine(b, inverse(best.scale), best.low, sums, below_zero, v_set(top), &best);
  return best;
}

V16 affine_error(const Lanes& b, V16 scale, V16 low, V16 top) {
  const V16 id = inverse(scale);
  V16 sum = v_zero();
  for (int i = 0; i < b.n; ++i) {
    const V16 x = b.at(i), diff = v_fma(scale, nearest((x - low) * id, v_zero(), top), low) - x;
    sum = v_fma(b.weight(i) * diff, diff, sum);
  }
  return sum;
}

struct AffineChoice {
  V16 d, dmin, scale, low, error;  // scale and low as whole numbers
};

/// The best whole scales and lows under d and dmin, near those of the fits.
AffineChoice choose_affine(const Lanes& b, const AffineSearch& how, const AffineFit& fit, V16 d, V16 dmin) {
  AffineChoice best{half_grid(d), half_grid(dmin), v_zero(), v_zero(), v_set(INFINITY)};
  const V16 most_scale = v_set(how.top_scale), most_low = v_set(how.top_low);
  const V16 scale = nearest(fit.scale * inverse(best.d), v_zero(), most_scale);
  const V16 low = nearest((v_zero() - fit.low) * inverse(best.dmin), v_zero(), most_low);
  for (int ds = -1; ds <= 1; ++ds) {
    for (int dm = -1; dm <= 1; ++dm) {
      const V16 s = nearest(scale + v_set(float(ds)), v_zero(), most_scale);
      const V16 m = nearest(low + v_set(float(dm)), v_zero(), most_low);
      const V16 error = affine_error(b, best.d * s, v_zero() - best.dmin * m, v_set(how.top));
      const M16 better = v_less(error, best.error);
      best.scale = v_select(better, s, best.scale);
      best.low = v_select(better, m, best.low);
      best.error = v_select(better, error, best.error);
    }
  }
  return best;
}

/// Least squares over d and dmin of each superblock with everything else kept.
void refit_affine(const Lanes& b, const AffineSearch& how, const AffineChoice& now, V16* d, V16* dmin) {
  const V16 scale = now.d * now.scale, low = v_zero() - now.dmin * now.low, id = inverse(scale);
  V16 sums[5] = {v_zero(), v_zero(), v_zero(), v_zero(), v_zero()};  // aa ab bb ax bx
  const V16 c = v_zero() - now.low;
  for (int i = 0; i < b.n; ++i) {
    const V16 x = b.at(i), w = b.weight(i);
    const V16 a = now.scale * nearest((x - low) * id, v_zero(), v_set(how.top)), wa = w * a, wc = w * c;
    sums[0] = v_fma(wa, a, sums[0]);
    sums[1] = v_fma(wa, c, sums[1]);
    sums[2] = v_fma(wc, c, sums[2]);
    sums[3] = v_fma(wa, x, sums[3]);
    sums[4] = v_fma(wc, x, sums[4]);
  }
  double all[5][kSearchLanes];
  for (int i = 0; i < 5; ++i) {
    float lanes[kSearchLanes];
    v_store(lanes, sums[i]);
    spread_sum(lanes, how.group, all[i]);
  }
  float ds[kSearchLanes], dmins[kSearchLanes];
  v_store(ds, now.d);
  v_store(dmins, now.dmin);
  for (int l = 0; l < kSearchLanes; ++l) {
    const double aa = all[0][l], ab = all[1][l], bb = all[2][l], ax = all[3][l], bx = all[4][l];
    const double determinant = aa * bb - ab * ab;
    if (determinant > 1e-12 * aa * bb) {
      const double one = (ax * bb - bx * ab) / determinant, two = (bx * aa - ax * ab) / determinant;
      if (one >= 0 && two >= 0) ds[l] = float(one), dmins[l] = float(two);
    } else if (aa > 0 && ax > 0) {
      ds[l] = float(ax / aa);
    }
  }
  *d = v_load(ds);
  *dmin = v_load(dmins);
}

/// Lanes of superblocks whose error became smaller take the new choice.
template <class Choice>
M16 better_groups(const Choice& a, const Choice& b, int group) {
  float one[kSearchLanes], two[kSearchLanes];
  double all_one[kSearchLanes], all_two[kSearchLanes];
  v_store(one, a.error);
  v_store(two, b.error);
  spread_sum(one, group, all_one);
  spread_sum(two, group, all_two);
  uint32_t bits = 0;
  for (int l = 0; l < kSearchLanes; ++l) bits |= uint32_t(all_one[l] < all_two[l]) << l;
  return m_from_bits(bits);
}

void affine(const AffineSearch& how, const float* x, const float* importance, int count, Searched* out) {
  Lanes b;
  gather(x, importance, how.elements, count, &b);
  const bool shared = how.group > 1;
  const AffineFit fit = fit_affine(b, how.top, shared);
  V16 scale = half_grid(fit.scale), low = half_grid(fit.low);
  v_store(out->d, scale);
  v_store(out->dmin, low);
  if (shared) {
    float lanes[kSearchLanes], most[kSearchLanes];
    v_store(lanes, fit.scale);
    spread_most(lanes, how.group, false, most);
    const V16 d = v_load(most) * v_set(1.0f / how.top_scale);
    v_store(lanes, v_zero() - fit.low);
    spread_most(lanes, how.group, false, most);
    const V16 dmin = v_load(most) * v_set(1.0f / how.top_low);
    AffineChoice best = choose_affine(b, how, fit, d, dmin);
    for (int round = 0; round < 2; ++round) {
      V16 next_d, next_dmin;
      refit_affine(b, how, best, &next_d, &next_dmin);
      const AffineChoice next = choose_affine(b, how, fit, next_d, next_dmin);
      const M16 better = better_groups(next, best, how.group);
      if (m_bits(better) == 0) break;
      best = {v_select(better, next.d, best.d), v_select(better, next.dmin, best.dmin),
              v_select(better, next.scale, best.scale), v_select(better, next.low, best.low),
              v_select(better, next.error, best.error)};
    }
    v_store(out->d, best.d);
    v_store(out->dmin, best.dmin);
    float lows[kSearchLanes];
    v_store(lanes, best.scale);
    v_store(lows, best.low);
    for (int l = 0; l < kSearchLanes; ++l) {
      out->scales[l] = int16_t(lanes[l]);
      out->lows[l] = uint8_t(lows[l]);
    }
    scale = best.d * best.scale;
    low = v_zero() - best.dmin * best.low;
  }
  V16 codes[kMostSubBlock];
  const V16 id = inverse(scale);
  for (int i = 0; i < b.n; ++i) codes[i] = nearest((b.at(i) - low) * id, v_zero(), v_set(how.top));
  store_codes(codes, b.n, out);
}

// ---- x = scale * value, values of whole numbers or of a table

/// Whole numbers of -middle..middle-1.
struct WholeValues {
  V16 least, most;
  explicit WholeValues(const SymmetricSearch& how) : least(v_set(-how.middle)), most(v_set(how.middle - 1)) {}
  V16 operator()(V16 y) const { return nearest(y, least, most); }
};

/// A table's, by the midpoints between them.
struct TableValues {
  V16 value[kTableValues], between[kTableValues];
  explicit TableValues(const TableSearch& how) {
    for (int k = 0; k < kTableValues; ++k) {
      value[k] = v_set(how.values[k]);
      if (k > 0) between[k] = v_set(0.5f * (how.values[k - 1] + how.values[k]));
    }
  }
  V16 operator()(V16 y) const {
    V16 found = value[0];
    for (int k = 1; k < kTableValues; ++k) found = v_select(v_less(between[k], y), value[k], found);
    return found;
  }
  V16 index(V16 y) const {
    V16 found = v_zero();
    for (int k = 1; k < kTableValues; ++k) found = v_select(v_less(between[k], y), v_set(float(k)), found);
    return found;
  }
};

template <class Values>
V16 scaled_error(const Lanes& b, const Values& values, V16 scale) {
  const V16 id = inverse(scale);
  V16 sum = v_zero();
  for (int i = 0; i < b.n; ++i) {
    const V16 diff = v_fma(scale, values(b.at(i) * id), v_zero() - b.at(i));
    sum = v_fma(b.weight(i) * diff, diff, sum);
  }
  return sum;
}

struct ScaledFit {
  V16 scale, score;  // score: the sum of squares that the codes explain
};

template <class Values>
void try_scaled(const Lanes& b, const Values& values, V16 iscale, ScaledFit* best) {
  V16 vx = v_zero(), vv = v_zero();
  for (int i = 0; i < b.n; ++i) {
    const V16 x = b.at(i), v = values(x * iscale), wv = b.weight(i) * v;
    vx = v_fma(wv, x, vx);
    vv = v_fma(wv, v, vv);
  }
  const V16 scale = vx / vv, score = vx * scale;
  const M16 better = both(v_less(best->score, score), v_less(v_zero(), vv));
  best->scale = v_select(better, scale, best->scale);
  best->score = v_select(better, score, best->score);
}

/// Maps the largest magnitude to both ends of the values, and to places near them.
template <class Values>
V16 fit_scaled(const Lanes& b, const Values& values, float least, float most, int steps, float step) {
  V16 extreme = v_zero();
  for (int i = 0; i < b.n; ++i) extreme = v_select(v_less(v_abs(extreme), v_abs(b.at(i))), b.at(i), extreme);
  const V16 ie = inverse(extreme);
  ScaledFit best{extreme * v_set(1.0f / least), v_zero()};
  for (int s = -steps; s <= steps; ++s) {
    try_scaled(b, values, v_set(least - step * float(s)) * ie, &best);
    try_scaled(b, values, v_set(most + step * float(s)) * ie, &best);
  }
  for (int round = 0; round < 2; ++round) try_scaled(b, values, inverse(best.scale), &best);
  return best.scale;
}

struct ScaledChoice {
  V16 d, scale, error;
};

template <class Values>
ScaledChoice choose_scaled(const Lanes& b, const Values& values, float least, float most, V16 fit, V16 d) {
  ScaledChoice best{half_grid(d), v_zero(), v_set(INFINITY)};
  const V16 near = nearest(fit * inverse(best.d), v_set(least), v_set(most));
  for (int ds = -1; ds <= 1; ++ds) {
    const V16 s = nearest(near + v_set(float(ds)), v_set(least), v_set(most));
    const V16 error = scaled_error(b, values, best.d * s);
    const M16 better = v_less(error, best.error);
    best.scale = v_select(better, s, best.scale);
    best.error = v_select(better, error, best.error);
  }
  return best;
}

template <class Values>
V16 refit_scaled(const Lanes& b, const Values& values, const ScaledChoice& now, int group) {
  const V16 id = inverse(now.d * now.scale);
  V16 ax = v_zero(), aa = v_zero();
  for (int i = 0; i < b.n; ++i) {
    const V16 a = now.scale * values(b.at(i) * id), wa = b.weight(i) * a;
    ax = v_fma(wa, b.at(i), ax);
    aa = v_fma(wa, a, aa);
  }
  float lanes[kSearchLanes], ds[kSearchLanes];
  double all_ax[kSearchLanes], all_aa[kSearchLanes];
  v_store(lanes, ax);
  spread_sum(lanes, group, all_ax);
  v_store(lanes, aa);
  spread_sum(lanes, group, all_aa);
  v_store(ds, now.d);
  for (int l = 0; l < kSearchLanes; ++l)
    if (all_aa[l] > 0) ds[l] = float(all_ax[l] / all_aa[l]);
  return v_load(ds);
}

/// Scales of all lanes, chosen; fills all of `out` but the codes.
template <class Search, class Values>
V16 choose_scales(const Search& how, const Lanes& b, const Values& values, float least, float most, Searched* out) {
  const V16 fit = fit_scaled(b, values, least, most, how.steps, how.step);
  if (how.group == 1) {
    const V16 scale = half_grid(fit);
    v_store(out->d, scale);
    return scale;
  }
  float lanes[kSearchLanes], largest[kSearchLanes];
  v_store(lanes, fit);
  spread_most(lanes, how.group, true, largest);
  const auto choose = [&](V16 d) { return choose_scaled(b, values, how.least_scale, how.most_scale, fit, d); };
  ScaledChoice best = choose(v_load(largest) * v_set(1.0f / how.least_scale));
  const auto take = [&](const ScaledChoice& next) {
    const M16 better = better_groups(next, best, how.group);
    best = {v_select(better, next.d, best.d), v_select(better, next.scale, best.scale),
            v_select(better, next.error, best.error)};
    return m_bits(better) != 0;
  };
  take(choose(v_load(largest) * v_set(1.0f / how.most_scale)));
  for (int round = 0; round < 2; ++round)
    if (!take(choose(refit_scaled(b, values, best, how.group)))) break;
  v_store(out->d, best.d);
  v_store(lanes, best.scale);
  for (int l = 0; l < kSearchLanes; ++l) out->scales[l] = int16_t(lanes[l]);
  return best.d * best.scale;
}

void symmetric(const SymmetricSearch& how, const float* x, const float* importance, int count, Searched* out) {
  Lanes b;
  gather(x, importance, how.elements, count, &b);
  const WholeValues values(how);
  const V16 id = inverse(choose_scales(how, b, values, -how.middle, how.middle - 1, out));
  V16 codes[kMostSubBlock];
  for (int i = 0; i < b.n; ++i) codes[i] = values(b.at(i) * id) + v_set(how.middle);
  store_codes(codes, b.n, out);
}

void table(const TableSearch& how, const float* x, const float* importance, int count, Searched* out) {
  Lanes b;
  gather(x, importance, how.elements, count, &b);
  const TableValues values(how);
  const V16 id = inverse(choose_scales(how, b, values, how.values[0], how.values[kTableValues - 1], out));
  V16 codes[kMostSubBlock];
  for (int i = 0; i < b.n; ++i) codes[i] = values.index(b.at(i) * id);
  store_codes(codes, b.n, out);
}

// ---- x = scale * E2M1, scales of a list

/// The nearest magnitude of 0, 0.5, 1, 1.5, 2, 3, 4, 6.
V16 nearest_e2m1(V16 a) {
  const V16 low = v_round(a * v_set(2.0f)) * v_set(0.5f);
  const V16 high = v_min(v_round(a * v_set(0.5f)) * v_set(2.0f), v_set(6.0f));
  return v_select(v_less(a, v_set(2.0f)), low, v_select(v_less(a, v_set(4.0f)), v_round(a), high));
}

void listed(const ListedSearch& how, const float* x, const float* importance, int count, Searched* out) {
  Lanes b;
  gather(x, importance, how.elements, count, &b);
  V16 most = v_zero();
  for (int i = 0; i < b.n; ++i) most = v_max(v_abs(b.at(i)), most);
  float lanes[kSearchLanes];
  v_store(lanes, most);
  int first[kSearchLanes];
  for (int l = 0; l < kSearchLanes; ++l) {
    int k = 0;
    while (k + 1 < how.count && 6.0f * how.scales[k] < lanes[l]) ++k;
    first[l] = k;
  }
  V16 best_scale = v_zero(), best_error = v_set(INFINITY), best_index = v_zero();
  for (int move = -how.below; move <= how.above; ++move) {
    float scales[kSearchLanes], indices[kSearchLanes];
    for (int l = 0; l < kSearchLanes; ++l) {
      const int k = first[l] + move < 0 ? 0 : first[l] + move >= how.count ? how.count - 1 : first[l] + move;
      scales[l] = how.scales[k];
      indices[l] = float(k);
    }
    const V16 scale = v_load(scales), id = inverse(scale);
    V16 error = v_zero();
    for (int i = 0; i < b.n; ++i) {
      const V16 a = v_abs(b.at(i)), diff = v_fma(scale, nearest_e2m1(a * id), v_zero() - a);
      error = v_fma(b.weight(i) * diff, diff, error);
    }
    const M16 better = v_less(error, best_error);
    best_scale = v_select(better, scale, best_scale);
    best_error = v_select(better, error, best_error);
    best_index = v_select(better, v_load(indices), best_index);
  }
  v_store(out->d, best_scale);
  v_store(lanes, best_index);
  for (int l = 0; l < kSearchLanes; ++l) out->scales[l] = int16_t(lanes[l]);
  const V16 id = inverse(best_scale);
  V16 codes[kMostSubBlock];
  for (int i = 0; i < b.n; ++i) {
    // 0, 0.5, ... 2 are codes 0 to 4; 3, 4, 6 are 5, 6, 7.
    const V16 v = nearest_e2m1(v_abs(b.at(i)) * id), doubled = v + v;
    const V16 above =
        v_select(v_less(v_set(3.5f), v), v_select(v_less(v_set(5.0f), v), v_set(7.0f), v_set(6.0f)), v_set(5.0f));
    const V16 magnitude = v_select(v_less(v_set(2.5f), v), above, doubled);
    codes[i] = magnitude + v_select(v_less(b.at(i), v_zero()), v_set(8.0f), v_zero());
  }
  store_codes(codes, b.n, out);
}

}  // namespace
}  // namespace vibee
