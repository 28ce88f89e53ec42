// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/write_stories.h"

#include "vibee/base/text/json_object.h"
#include "vibee/base/thread/team.h"

namespace vibee {
namespace {

constexpr uint32_t kBatch = 512;  // stories a thread

struct Told {
  std::string text;
  uint64_t tokens = 0;
};

Result<Told> tell(const Storyteller& teller, const StoryOrder& order, uint64_t i) {
  Told out;
  VIBEE_ASSIGN(out.text, teller.tell(order.seed, i));
  if (order.tokenizer != nullptr) {
    std::vector<int32_t> ids;
    VIBEE_TRY(order.tokenizer->encode(out.text, false, &ids));
    out.tokens = ids.size() + 1;
  }
  out.text = order.lines ? JsonObject().text("text", out.text).str() + "\n"
                         : fmt::format("{}\n{}\n", out.text, kStorySeparator);
  return out;
}

}  // namespace

Result<StoryCount> write_stories(const Storyteller& teller, const StoryOrder& order,
                                 const std::function<Status(std::string_view)>& write,
                                 const std::function<bool(const StoryCount&)>& progress) {
  StoryCount count;
  if (order.stories == 0 && order.bytes == 0 && order.tokens == 0)
    return error(Code::invalid, "say how much to write: stories, bytes or tokens");
  if (order.tokens > 0 && order.tokenizer == nullptr)
    return error(Code::invalid, "tokens are counted by a tokenizer; give one");
  const auto enough = [&] {
    return count.stories >= order.stories && count.bytes >= order.bytes && count.tokens >= order.tokens;
  };
  Team team(order.threads);
  std::vector<Told> told(size_t(kBatch) * order.threads);
  std::vector<Status> statuses(told.size());
  while (!enough()) {
    const uint64_t first = order.first + count.stories;
    const uint64_t left = order.bytes == 0 && order.tokens == 0 ? order.stories - count.stories : told.size();
    const uint32_t n = uint32_t(std::min<uint64_t>(left, told.size()));
    team.run([&](uint32_t tid) {
      const Range mine = share(n, tid, order.threads);
      for (uint32_t i = mine.begin; i < mine.end; ++i) {
        auto one = tell(teller, order, first + i);
        statuses[i] = one.ok() ? Status() : one.take_status().within(fmt::format("story {}", first + i));
        if (one.ok()) told[i] = std::move(*one);
      }
    });
    for (uint32_t i = 0; i < n && !enough(); ++i) {
      VIBEE_TRY(std::move(statuses[i]));
      VIBEE_TRY(write(told[i].text));
      ++count.stories;
      count.bytes += told[i].text.size();
      count.tokens += told[i].tokens;
    }
    if (progress && !progress(count)) return error(Code::cancelled, "stopped");
  }
  return count;
}

}  // namespace vibee
