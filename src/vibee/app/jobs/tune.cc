// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/tune.h"

#include <algorithm>

namespace vibee {
namespace {

constexpr uint32_t kHopelessPairs = 3;
// Of the time, what single options may take; the rest is for combining what pays.
constexpr double kSearchShare = 0.7;
// Pairs of an option at most, over those that are asked for, where there is time.
constexpr uint32_t kMostTimesPairs = 3;

/// Runs with settings and without, in pairs.
struct Pairs {
  std::vector<Setting> settings, beside;
  std::vector<BenchFigures> with, without;
  double seconds = 0;  ///< of its pairs
};

class Tuner {
 public:
  Tuner(const TuneConfig& config, const TuneProbe& probe) : config_(config), probe_(probe) {}

  Result<TuneReport> run(const std::vector<TuneOption>& options) {
    VIBEE_TRY(time({}).take_status());  // what is read for the first time
    VIBEE_TRY(measure_options(options));
    if (!probe_.progress("combining", kSearchShare)) return error(Code::cancelled, "interrupted");
    VIBEE_TRY(combine());
    out_.config = config_;
    out_.plain = medians(plain_);
    out_.seconds = probe_.seconds();
    return std::move(out_);
  }

 private:
  double request_seconds(const BenchFigures& f) const {
    return config_.prompt / f.prompt + config_.generate / f.generate;
  }

  static BenchFigures medians(const std::vector<BenchFigures>& runs) {
    const auto of = [&](double BenchFigures::*member) {
      std::vector<double> values;
      values.reserve(runs.size());
      for (const BenchFigures& f : runs) values.push_back(f.*member);
      return median(std::move(values));
    };
    return {of(&BenchFigures::prompt), of(&BenchFigures::generate), of(&BenchFigures::batch),
            of(&BenchFigures::first_token_s), of(&BenchFigures::peak_bytes)};
  }

  /// Whether every pair took more than twice the time: it cannot pay, and the time goes to what might.
  bool hopeless(const Pairs& p) const {
    for (size_t i = 0; i < p.with.size(); ++i)
      if (request_seconds(p.with[i]) < 2 * request_seconds(p.without[i])) return false;
    return p.with.size() >= kHopelessPairs;
  }

  Result<BenchFigures> time(const std::vector<Setting>& settings) {
    const double begin = probe_.seconds();
    VIBEE_ASSIGN(const BenchFigures f, probe_.time(settings));
    run_seconds_ += probe_.seconds() - begin;
    ++runs_;
    return f;
  }
  /// Seconds that the pairs of settings like those so far take.
  double pairs_seconds() const { return run_seconds_ / runs_ * 2 * config_.pairs; }

  /// One more; who goes first alternates, so that a drift of the machine favours neither.
  Status measure_pair(Pairs* p) {
    const double begin = probe_.seconds();
    const bool with_first = p->with.size() % 2 == 0;
    for (int turn = 0; turn < 2; ++turn) {
      const bool mine = (turn == 0) == with_first;
      VIBEE_ASSIGN(const BenchFigures f, time(mine ? p->settings : p->beside));
      (mine ? p->with : p->without).push_back(f);
    }
    p->seconds += probe_.seconds() - begin;
    return {};
  }

  /// All options in turns, so that what the machine does meanwhile is in all of their intervals: in the first round
  /// those for whose pairs there is time, then as many pairs as are asked for, then more while there is time for a
  /// round.
  Status measure_options(const std::vector<TuneOption>& options) {
    std::vector<Pairs> all(options.size());
    std::vector<bool> measured(options.size());
    const double allowed = kSearchShare * config_.seconds, begin = probe_.seconds();
    double promised = 0;  // seconds of all pairs of the options so far
    const auto round = [&](uint32_t number) -> Status {
      for (size_t i = 0; i < options.size(); ++i) {
        Pairs& p = all[i];
        p.settings = {options[i].setting};
        if (number == 0) measured[i] = begin + promised + pairs_seconds() <= allowed;
        if (!measured[i] || hopeless(p)) continue;
        const double pairs = std::min(1.0, (number + double(i) / double(options.size())) / config_.pairs);
        if (!probe_.progress(options[i].setting.text(),
                             kSearchShare * std::min(1.0, std::max(pairs / 2, probe_.seconds() / allowed))))
          return error(Code::cancelled, "interrupted");
        VIBEE_TRY(measure_pair(&p));
        if (number == 0)
          promised += p.seconds *
                      (request_seconds(p.with[0]) < 2 * request_seconds(p.without[0]) ? config_.pairs : kHopelessPairs);
      }
      return {};
    };
    for (uint32_t r = 0; r < config_.pairs; ++r) VIBEE_TRY(round(r));
    for (uint32_t r = config_.pairs; r < kMostTimesPairs * config_.pairs; ++r) {
      double next = 0;
      for (const Pairs& p : all)
        if (!p.with.empty() && !hopeless(p)) next += p.seconds / double(p.with.size());
      if (next == 0 || probe_.seconds() + next > allowed) break;
      VIBEE_TRY(round(r));
    }
    for (size_t i = 0; i < options.size(); ++i) {
      TuneRow row;
      row.summary = options[i].summary;
      row.exact = options[i].exact;
      if (measured[i]) {
        conclude(all[i], &row);
        VIBEE_TRY(judge(&row));
      } else {
        row.settings = {options[i].setting};
        row.verdict = "not measured: give more --time";
      }
      out_.rows.push_back(std::move(row));
    }
    return {};
  }

  Status measure_pairs(const std::vector<Setting>& settings, const std::vector<Setting>& beside, TuneRow* row) {
    Pairs p{settings, beside, {}, {}};
    while (p.with.size() < config_.pairs && !hopeless(p)) VIBEE_TRY(measure_pair(&p));
    conclude(p, row);
    return {};
  }

  /// What pairs say.
  void conclude(const Pairs& p, TuneRow* row) {
    if (p.beside.empty()) plain_.insert(plain_.end(), p.without.begin(), p.without.end());
    const auto ratio = [&](auto&& value, bool more_is_better) {
      std::vector<double> a, b;
      for (const BenchFigures& f : p.with) a.push_back(value(f));
      for (const BenchFigures& f : p.without) b.push_back(value(f));
      return more_is_better ? paired_ratio(a, b) : paired_ratio(b, a);
    };
    row->settings = p.settings;
    row->pairs = uint32_t(p.with.size());
    row->figures = medians(p.with);
    row->request = ratio([&](const BenchFigures& f) { return request_seconds(f); }, false);
    row->prompt = ratio([](const BenchFigures& f) { return f.prompt; }, true);
    row->generate = ratio([](const BenchFigures& f) { return f.generate; }, true);
    row->first_token = ratio([](const BenchFigures& f) { return f.first_token_s; }, false);
    row->memory = ratio([](const BenchFigures& f) { return f.peak_bytes; }, false);
    if (row->pairs < config_.pairs) {
      row->verdict = fmt::format("slower: less than half as fast in each of {} pairs", row->pairs);
      return;
    }
    const bool differs = row->request.differs(config_.least);
    row->verdict = !differs ? "no difference shown" : row->request.ratio > 1 ? "faster" : "slower";
    row->pays = differs && row->request.ratio > 1;
  }

  /// What the settings cost in quality, and whether they may be used.
  Status judge(TuneRow* row) {
    VIBEE_ASSIGN(row->quality, probe_.quality(row->settings));
    const double most = row->quality->kl + 2 * row->quality->kl_error;
    if (row->exact && row->quality->kl != 0) {
      row->verdict = "promises the same bytes and breaks it: please report";
      row->pays = false;
    } else if (!row->exact && row->pays && !(config_.lossy && most <= *config_.lossy)) {
      row->verdict += config_.lossy ? ", costs more quality than is given away" : ", not exact: --lossy KL allows it";
      row->pays = false;
    }
    return {};
  }

  /// Adds what pays, the largest gain first, as long as each addition still pays; then measures the whole afresh.
  Status combine() {
    std::vector<const TuneRow*> paying;
    for (const TuneRow& row : out_.rows)
      if (row.pays) paying.push_back(&row);
    std::stable_sort(paying.begin(), paying.end(),
                     [](const TuneRow* a, const TuneRow* b) { return a->request.ratio > b->request.ratio; });
    if (paying.empty()) {
      out_.steps.push_back("none pays: the defaults stay");
      return {};
    }
    std::vector<Setting> chosen;
    bool exact = true;
    for (const TuneRow* row : paying) {
      const Setting& setting = row->settings[0];
      const auto same = [&](const Setting& s) { return s.option == setting.option && s.option != "--disable"; };
      if (std::any_of(chosen.begin(), chosen.end(), same)) continue;  // the better value is there already
      std::vector<Setting> with = chosen;
      with.push_back(setting);
      if (!chosen.empty()) {
        if (probe_.seconds() + pairs_seconds() > config_.seconds) {
          out_.steps.push_back(fmt::format("{}: not tried, the time is over", setting.text()));
          continue;
        }
        TuneRow added;
        added.exact = exact && row->exact;
        VIBEE_TRY(measure_pairs(with, chosen, &added));
        VIBEE_TRY(judge(&added));
        out_.steps.push_back(fmt::format("{} added: {:.3f}x ({:.3f} to {:.3f}), {}", setting.text(),
                                         added.request.ratio, added.request.low, added.request.high, added.verdict));
        if (!added.pays) continue;
      } else {
        out_.steps.push_back(fmt::format("{} first: {:.3f}x", setting.text(), row->request.ratio));
      }
      chosen = std::move(with);
      exact &= row->exact;
    }
    TuneRow whole;
    whole.exact = exact;
    whole.summary = "the combination";
    VIBEE_TRY(measure_pairs(chosen, {}, &whole));
    VIBEE_TRY(judge(&whole));
    out_.steps.push_back(fmt::format("{} against the plain run, measured afresh: {:.3f}x ({:.3f} to {:.3f}), {}",
                                     settings_text(chosen), whole.request.ratio, whole.request.low, whole.request.high,
                                     whole.verdict));
    if (whole.pays)
      out_.chosen = std::move(chosen);
    else
      out_.steps.push_back("none pays: the defaults stay");
    out_.final = std::move(whole);
    return {};
  }

  const TuneConfig config_;
  const TuneProbe& probe_;
  uint32_t runs_ = 0;
  double run_seconds_ = 0;
  std::vector<BenchFigures> plain_;
  TuneReport out_;
};

}  // namespace

Result<TuneReport> tune(const std::vector<TuneOption>& options, const TuneConfig& config, const TuneProbe& probe) {
  if (options.empty()) return error(Code::invalid, "this model leaves nothing to choose");
  return Tuner(config, probe).run(options);
}

}  // namespace vibee
