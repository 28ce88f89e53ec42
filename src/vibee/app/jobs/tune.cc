// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/tune.h"

#include <algorithm>

namespace vibee {
namespace {

constexpr uint32_t kHopelessPairs = 3;
// Of the time, what single options may take: all but one last look while none pays, else the rest is for combining
// them.
constexpr double kSearchShare = 0.7, kSearchAlone = 0.95;

class Tuner {
 public:
  Tuner(const TuneConfig& config, const TuneProbe& probe) : config_(config), probe_(probe) {}

  Result<TuneReport> run(const std::vector<TuneOption>& options) {
    VIBEE_TRY(probe_.time({}).take_status());  // what is read for the first time
    for (size_t i = 0; i < options.size(); ++i) {
      if (!probe_.progress(options[i].setting.text(), double(i) / double(options.size() + 2)))
        return error(Code::cancelled, "interrupted");
      VIBEE_TRY(measure_option(options[i]));
    }
    if (!probe_.progress("combining", double(options.size()) / double(options.size() + 2)))
      return error(Code::cancelled, "interrupted");
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
      for (const BenchFigures& f : runs) values.push_back(f.*member);
      return median(std::move(values));
    };
    return {of(&BenchFigures::prompt), of(&BenchFigures::generate), of(&BenchFigures::batch),
            of(&BenchFigures::first_token_s), of(&BenchFigures::peak_bytes)};
  }

  /// Whether every pair took more than twice the time: it cannot pay, and the time goes to what might.
  bool hopeless(const std::vector<BenchFigures>& with, const std::vector<BenchFigures>& without) const {
    for (size_t i = 0; i < with.size(); ++i)
      if (request_seconds(with[i]) < 2 * request_seconds(without[i])) return false;
    return true;
  }

  bool time_is_left(double share) const {
    const double once = times_ > 0 ? probe_.seconds() / times_ : 0;
    return probe_.seconds() + once * 2 * config_.pairs <= share * config_.seconds;
  }

  /// Pairs of `settings` and `beside`; who goes first alternates, so that a drift of the machine favours neither.
  Status measure_pairs(const std::vector<Setting>& settings, const std::vector<Setting>& beside, TuneRow* row) {
    std::vector<BenchFigures> with, without;
    for (uint32_t i = 0; i < config_.pairs; ++i) {
      for (int turn = 0; turn < 2; ++turn) {
        const bool mine = (turn == 0) == (i % 2 == 0);
        VIBEE_ASSIGN(const BenchFigures f, probe_.time(mine ? settings : beside));
        (mine ? with : without).push_back(f);
        ++times_;
      }
      if (i + 1 == kHopelessPairs && hopeless(with, without)) break;
    }
    if (beside.empty()) plain_.insert(plain_.end(), without.begin(), without.end());
    const auto ratio = [&](auto&& value, bool more_is_better) {
      std::vector<double> a, b;
      for (const BenchFigures& f : with) a.push_back(value(f));
      for (const BenchFigures& f : without) b.push_back(value(f));
      return more_is_better ? paired_ratio(a, b) : paired_ratio(b, a);
    };
    row->settings = settings;
    row->pairs = uint32_t(with.size());
    row->figures = medians(with);
    row->request = ratio([&](const BenchFigures& f) { return request_seconds(f); }, false);
    row->prompt = ratio([](const BenchFigures& f) { return f.prompt; }, true);
    row->generate = ratio([](const BenchFigures& f) { return f.generate; }, true);
    row->first_token = ratio([](const BenchFigures& f) { return f.first_token_s; }, false);
    row->memory = ratio([](const BenchFigures& f) { return f.peak_bytes; }, false);
    if (row->pairs < config_.pairs) {
      row->verdict = fmt::format("slower: less than half as fast in each of {} pairs", row->pairs);
      return {};
    }
    const bool differs = row->request.differs(config_.least);
    row->verdict = !differs ? "no difference shown" : row->request.ratio > 1 ? "faster" : "slower";
    row->pays = differs && row->request.ratio > 1;
    return {};
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

  Status measure_option(const TuneOption& option) {
    TuneRow row;
    row.summary = option.summary;
    row.exact = option.exact;
    const bool any = std::any_of(out_.rows.begin(), out_.rows.end(), [](const TuneRow& r) { return r.pays; });
    if (time_is_left(any ? kSearchShare : kSearchAlone)) {
      VIBEE_TRY(measure_pairs({option.setting}, {}, &row));
      VIBEE_TRY(judge(&row));
    } else {
      row.settings = {option.setting};
      row.verdict = "not measured: give more --time";
    }
    out_.rows.push_back(std::move(row));
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
        if (!time_is_left(1)) {
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
  uint32_t times_ = 0;
  std::vector<BenchFigures> plain_;
  TuneReport out_;
};

}  // namespace

Result<TuneReport> tune(const std::vector<TuneOption>& options, const TuneConfig& config, const TuneProbe& probe) {
  if (options.empty()) return error(Code::invalid, "this model leaves nothing to choose");
  return Tuner(config, probe).run(options);
}

}  // namespace vibee
