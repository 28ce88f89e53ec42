// SPDX-License-Identifier: Apache-2.0
// A grammar of stories, parsed. The form of the file is in stories.h.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct StoryNode;
using StoryText = std::vector<StoryNode>;

struct StoryNode {
  enum class Kind : uint8_t { text, rule, value, bind, choice, test };
  Kind kind = Kind::text;
  std::string text{};              ///< of text; the name X of value, bind, test
  std::string key{}, wanted{};     ///< attribute of value and test; what it must be
  uint32_t rule = 0;               ///< of rule, bind
  bool said = true;                ///< of bind
  std::vector<StoryText> parts{};  ///< of choice; yes and no of test
};

struct StoryAlternative {
  StoryText text;
  std::map<std::string, std::vector<std::string>, std::less<>> attributes;
};

struct StoryRule {
  std::string name;
  std::vector<StoryAlternative> alternatives;
};

struct StoryGrammar {
  std::vector<StoryRule> rules;
  uint32_t story = 0;  ///< the rule to begin with
};

/// `name` begins the messages.
Result<StoryGrammar> parse_story_grammar(std::string_view text, const std::string& name);

}  // namespace vibee
