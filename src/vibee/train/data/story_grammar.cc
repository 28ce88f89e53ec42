// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/story_grammar.h"

#include <set>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr uint32_t kDeepest = 32;  // choices inside of choices

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
bool is_value(std::string_view name) { return !name.empty() && name[0] >= 'A' && name[0] <= 'Z'; }

/// The lines of one alternative as one, and where it began.
struct Entry {
  std::string text;
  size_t line;
};

class Parser {
 public:
  Parser(std::string_view all, const std::string& name) : all_(all), name_(name) {}

  Result<StoryGrammar> parse() {
    VIBEE_TRY(read_lines());
    for (size_t r = 0; r < entries_.size(); ++r) {
      for (const Entry& entry : entries_[r]) {
        line_ = entry.line;
        StoryAlternative made;
        std::string_view text = entry.text;
        if (const size_t at = text.find(" :: "); at != std::string_view::npos) {
          VIBEE_TRY(attributes(text.substr(at + 4), &made));
          text = text.substr(0, at);
        }
        text_ = text;
        at_ = 0;
        VIBEE_TRY(sequence("", 0, &made.text));
        grammar_.rules[r].alternatives.push_back(std::move(made));
      }
    }
    for (const auto& [value, line] : used_) {
      if (bound_.count(value) == 0) return at_line(line, fmt::format("nothing is ever kept as {}", quote(value)));
    }
    const auto story = numbers_.find("story");
    if (story == numbers_.end()) return error(Code::invalid, "{}: has no rule [story]", name_);
    grammar_.story = story->second;
    reached_.insert(story->second);
    for (uint32_t r = 0; r < grammar_.rules.size(); ++r) {
      if (reached_.count(r) == 0)
        return error(Code::invalid, "{}: rule [{}] is used nowhere", name_, grammar_.rules[r].name);
    }
    return std::move(grammar_);
  }

 private:
  Status at_line(size_t line, std::string_view what) const {
    return error(Code::invalid, "{}, line {}: {}", name_, line, what);
  }
  Status wrong(std::string_view what) const {
    return at_line(line_, fmt::format("{} at {}", what, quote(text_.substr(std::min(at_, text_.size())), 30)));
  }

  /// Rules by name, and the text of their alternatives.
  Status read_lines() {
    size_t number = 0;
    for (size_t at = 0; at < all_.size();) {
      const size_t end = std::min(all_.find('\n', at), all_.size());
      std::string_view line = all_.substr(at, end - at);
      at = end + 1;
      ++number;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty() || line[0] == '#') continue;
      if (line[0] == '[') {
        if (line.size() < 3 || line.back() != ']') return at_line(number, "a rule is written [name]");
        const std::string rule(line.substr(1, line.size() - 2));
        if (is_value(rule)) return at_line(number, "the name of a rule begins with a small letter");
        for (const char c : rule)
          if (!is_name(c)) return at_line(number, "names are of letters, digits and _");
        if (!numbers_.emplace(rule, uint32_t(entries_.size())).second)
          return at_line(number, fmt::format("[{}] stands twice", rule));
        grammar_.rules.push_back({rule, {}});
        entries_.emplace_back();
        continue;
      }
      if (entries_.empty()) return at_line(number, "text before the first [rule]");
      if (line[0] == ' ') {
        if (entries_.back().empty()) return at_line(number, "nothing to go on with");
        entries_.back().back().text += line;
      } else {
        entries_.back().push_back({std::string(line), number});
      }
    }
    for (size_t r = 0; r < entries_.size(); ++r) {
      if (entries_[r].empty()) return error(Code::invalid, "{}: rule [{}] is empty", name_, grammar_.rules[r].name);
    }
    return {};
  }

  Status attributes(std::string_view text, StoryAlternative* out) {
    while (!text.empty()) {
      const size_t end = std::min(text.find(' '), text.size());
      const std::string_view pair = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (pair.empty()) continue;
      const size_t equal = pair.find('=');
      if (equal == 0 || equal == std::string_view::npos || equal + 1 == pair.size())
        return at_line(line_, fmt::format("{} is no key=value", quote(pair)));
      std::vector<std::string>& values = out->attributes[std::string(pair.substr(0, equal))];
      std::string value;
      for (const char c : pair.substr(equal + 1)) {
        if (c == '/') {
          values.push_back(std::move(value));
          value.clear();
        } else {
          value += c == '_' ? ' ' : c;
        }
      }
      values.push_back(std::move(value));
    }
    return {};
  }

  /// Up to one of `stops`, which stays, or the end.
  Status sequence(std::string_view stops, uint32_t depth, StoryText* out) {
    if (depth > kDeepest) return wrong("nested too deeply");
    std::string plain;
    const auto flush = [&] {
      if (!plain.empty()) out->push_back({.text = plain});
      plain.clear();
    };
    for (; at_ < text_.size() && stops.find(text_[at_]) == std::string_view::npos;) {
      const char c = text_[at_];
      if (c == '{' || c == '(') {
        flush();
        ++at_;
        VIBEE_TRY(c == '{' ? braces(depth, out) : choice(depth, out));
      } else if (c == '}' || c == ')' || c == '|') {
        return wrong("nothing was opened");
      } else {
        plain += c;
        ++at_;
      }
    }
    flush();
    if (!stops.empty() && at_ == text_.size()) return wrong("something is not closed");
    return {};
  }

  Status choice(uint32_t depth, StoryText* out) {
    StoryNode node{.kind = StoryNode::Kind::choice};
    do {
      VIBEE_TRY(sequence("|)", depth + 1, &node.parts.emplace_back()));
    } while (text_[at_++] == '|');
    out->push_back(std::move(node));
    return {};
  }

  std::string word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Status braces(uint32_t depth, StoryText* out) {
    StoryNode node;
    const std::string name = word();
    if (name.empty()) return wrong("a name is missing");
    if (!is_value(name)) {
      node.kind = StoryNode::Kind::rule;
      VIBEE_TRY(rule(name, &node));
    } else if (take('?')) {
      node.kind = StoryNode::Kind::test;
      node.key = word();
      if (take('=')) node.wanted = word();
      if (node.key.empty() || !take(':')) return wrong("a test is written {X?key=value:yes|no}");
      node.parts.resize(2);
      VIBEE_TRY(sequence("|}", depth + 1, &node.parts[0]));
      if (take('|')) VIBEE_TRY(sequence("}", depth + 1, &node.parts[1]));
      used_.emplace(name, line_);
    } else if (take(':') || take('=')) {
      node.kind = StoryNode::Kind::bind;
      node.said = text_[at_ - 1] == ':';
      VIBEE_TRY(rule(word(), &node));
      bound_.insert(name);
    } else {
      node.kind = StoryNode::Kind::value;
      if (take('.')) {
        node.key = word();
        if (node.key.empty()) return wrong("an attribute is missing");
      }
      used_.emplace(name, line_);
    }
    if (!take('}')) return wrong("a } is missing");
    node.text = name;
    out->push_back(std::move(node));
    return {};
  }
  Status rule(const std::string& name, StoryNode* node) {
    const auto at = numbers_.find(name);
    if (at == numbers_.end()) return wrong(fmt::format("there is no rule {}", quote(name)));
    node->rule = at->second;
    reached_.insert(at->second);
    return {};
  }

  std::string_view all_;
  const std::string& name_;
  StoryGrammar grammar_;
  std::map<std::string, uint32_t, std::less<>> numbers_;
  std::vector<std::vector<Entry>> entries_;  // one list a rule
  std::map<std::string, size_t> used_;       // names, and the line of one use
  std::set<std::string> bound_;
  std::set<uint32_t> reached_;  // rules
  std::string_view text_;
  size_t at_ = 0, line_ = 0;
};

}  // namespace

Result<StoryGrammar> parse_story_grammar(std::string_view text, const std::string& name) {
  return Parser(text, name).parse();
}

}  // namespace vibee
