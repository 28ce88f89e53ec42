// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/hub.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr size_t kMostFiles = 10000;

bool is_hex(std::string_view text, size_t length) {
  return text.size() == length &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// A name the Hub allows: letters, digits and -_. without "--" and "..", not beginning or ending with - or a full stop.
bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 96 || text.find("--") != std::string_view::npos ||
      text.find("..") != std::string_view::npos)
    return false;
  const auto edge = [](char c) { return c == '-' || c == '.'; };
  return !edge(text.front()) && !edge(text.back()) && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = char(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

/// "model-00002-of-00005.gguf" as "model.gguf"; others as they are.
std::string without_part(std::string_view path) {
  constexpr size_t kTail = sizeof("-00001-of-00002.gguf") - 1;
  if (path.size() <= kTail) return std::string(path);
  const std::string_view tail = path.substr(path.size() - kTail);
  const auto digits = [&](size_t from) {
    return std::all_of(tail.begin() + from, tail.begin() + from + 5, [](char c) { return c >= '0' && c <= '9'; });
  };
  const bool part =
      tail[0] == '-' && digits(1) && tail.substr(6, 4) == "-of-" && digits(10) && tail.substr(15) == ".gguf";
  return part ? std::string(path.substr(0, path.size() - kTail)) + ".gguf" : std::string(path);
}

/// Whether `word` stands in `name` by itself: "q8_0" in "x-q8_0.gguf", not "q4_k" in "x-q4_k_m.gguf".
bool has_word(const std::string& name, const std::string& word) {
  const auto inside = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (size_t at = name.find(word); at != std::string::npos; at = name.find(word, at + 1)) {
    const bool begins = at == 0 || !inside(name[at - 1]),
               ends = at + word.size() == name.size() || !inside(name[at + word.size()]);
    if (begins && ends) return true;
  }
  return false;
}

using Groups = std::map<std::string, std::vector<ModelFile>>;  // the parts of a .gguf file under its name

std::string names_of(const Groups& groups) {
  std::string out;
  size_t n = 0;
  for (const auto& [name, files] : groups) {
    if (n++ == 12) return out + fmt::format(" and {} more", groups.size() - 12);
    out += (out.empty() ? "" : " ") + quote(name);
  }
  return out;
}

Result<std::vector<ModelFile>> choose_gguf(const Groups& groups, const HubName& name) {
  if (const auto it = groups.find(name.wanted); it != groups.end()) return it->second;
  if (name.wanted.empty() && groups.size() == 1) return groups.begin()->second;
  const std::string word = lower(name.wanted.empty() ? "Q4_K_M" : name.wanted);
  std::vector<const std::vector<ModelFile>*> fitting;
  for (const auto& [path, files] : groups) {
    if (has_word(lower(path), word)) fitting.push_back(&files);
  }
  if (fitting.size() == 1) return *fitting[0];
  return error(Code::not_found, "{}: {} of its .gguf files {} {}; name one as {}:FILE (there are {})", name.repo,
               fitting.empty() ? "none" : std::to_string(fitting.size()), fitting.size() > 1 ? "have" : "has", word,
               name.repo, names_of(groups));
}

bool in_directory_of_transformers(std::string_view path, bool model_prefix) {
  static const std::set<std::string_view> kNames = {"config.json",
                                                    "generation_config.json",
                                                    "tokenizer.json",
                                                    "tokenizer_config.json",
                                                    "vocab.json",
                                                    "vocab.txt",
                                                    "merges.txt",
                                                    "special_tokens_map.json",
                                                    "added_tokens.json",
                                                    "tokenizer.model",
                                                    "chat_template.jinja",
                                                    "chat_template.json",
                                                    "modules.json",
                                                    "LICENSE",
                                                    "sentence_bert_config.json",
                                                    "config_sentence_transformers.json",
                                                    "1_Pooling/config.json",
                                                    "LICENSE.txt",
                                                    "LICENSE.md",
                                                    "model.safetensors.index.json"};
  if (kNames.contains(path)) return true;
  if (!path.ends_with(".safetensors") || path.find('/') != std::string_view::npos) return false;
  return !model_prefix || path.starts_with("model");  // "consolidated" ones hold the same in another layout
}

}  // namespace

Result<HubName> parse_hub_name(std::string_view text) {
  const auto bad = [&] {
    return error(Code::invalid, "{}: not a repository; write OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME:Q4_K_M",
                 quote(text, 200));
  };
  HubName out;
  std::string_view rest = text;
  if (rest.starts_with("hf:")) rest.remove_prefix(3);
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    out.wanted = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_safe_path(out.wanted)) return bad();
  }
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    out.revision = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_name(out.revision)) return bad();
  }
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos || !is_name(rest.substr(0, slash)) || !is_name(rest.substr(slash + 1)))
    return bad();
  out.repo = rest;
  return out;
}

Result<HubRepo> parse_hub_listing(std::string_view json, const std::string& where) {
  Result<JsonValue> parsed = parse_json(json);
  if (!parsed.ok()) return parsed.take_status().within(where);
  const auto bad = [&](std::string_view what) { return error(Code::corrupt, "{}: {}", where, what); };
  HubRepo out;
  const JsonValue *sha = parsed->find("sha"), *siblings = parsed->find("siblings");
  if (!sha || !sha->is(JsonValue::Kind::text) || !is_hex(sha->text, 40)) return bad("no commit in field \"sha\"");
  if (!siblings || !siblings->is(JsonValue::Kind::array)) return bad("no list in field \"siblings\"");
  if (siblings->items.size() > kMostFiles)
    return bad(fmt::format("{} files, more than the {} supported", siblings->items.size(), kMostFiles));
  out.commit = sha->text;
  const auto text = [](const JsonValue* v) { return v && v->is(JsonValue::Kind::text) ? v->text : std::string(); };
  for (const JsonValue& item : siblings->items) {
    ModelFile file;
    file.path = text(item.find("rfilename"));
    const JsonValue *size = item.find("size"), *lfs = item.find("lfs");
    if (lfs) {
      file.sha256 = text(lfs->find("sha256"));
      if (!is_hex(file.sha256, 64)) return bad(fmt::format("file {} has no SHA-256", quote(file.path)));
      if (const JsonValue* large = lfs->find("size")) size = large;
    } else {
      file.git_sha1 = text(item.find("blobId"));
      if (!is_hex(file.git_sha1, 40)) return bad(fmt::format("file {} has no hash", quote(file.path)));
    }
    if (!size || !size->is(JsonValue::Kind::integer) || size->integer < 0)
      return bad(fmt::format("file {} has no size", quote(file.path)));
    file.bytes = uint64_t(size->integer);
    if (!is_safe_path(file.path)) continue;  // never one that a model needs
    out.files.push_back(std::move(file));
  }
  return out;
}

Result<std::vector<ModelFile>> choose_files(const HubRepo& repo, const HubName& name) {
  Groups groups;
  bool config = false, tensors = false, model_prefix = false, pickled = false;
  for (const ModelFile& file : repo.files) {
    const std::string_view base = base_name(file.path);
    if (base.ends_with(".gguf") && !base.starts_with("mmproj")) groups[without_part(file.path)].push_back(file);
    config |= file.path == "config.json";
    if (file.path.ends_with(".safetensors") && file.path.find('/') == std::string::npos) {
      tensors = true;
      model_prefix |= file.path.starts_with("model");
    }
    pickled |= file.path.ends_with(".bin") || file.path.ends_with(".pth") || file.path.ends_with(".pt");
  }
  for (auto& [_, files] : groups)
    std::sort(files.begin(), files.end(), [](const ModelFile& a, const ModelFile& b) { return a.path < b.path; });
  if (!name.wanted.empty() || (!groups.empty() && !(config && tensors))) {
    if (groups.empty())
      return error(Code::not_found, "{}: has no .gguf file to choose {} from; pull {}", name.repo, quote(name.wanted),
                   name.repo);
    return choose_gguf(groups, name);
  }
  if (!config || !tensors) {
    return error(Code::unsupported, "{}: has neither .gguf files nor config.json with .safetensors{}", name.repo,
                 pickled ? " (pickled weights run code when they are read and are not)" : "");
  }
  std::vector<ModelFile> out;
  for (const ModelFile& file : repo.files) {
    if (in_directory_of_transformers(file.path, model_prefix)) out.push_back(file);
  }
  return out;
}

Hub Hub::from_environment() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  Hub hub;
  hub.endpoint = variable("HF_ENDPOINT");
  if (hub.endpoint.empty()) hub.endpoint = "https://huggingface.co";
  while (hub.endpoint.ends_with('/')) hub.endpoint.pop_back();
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (hub.token.empty()) hub.token = variable(name);
  }
  if (hub.token.empty()) {
    std::string path = variable("HF_TOKEN_PATH");
    if (path.empty() && !variable("HF_HOME").empty()) path = variable("HF_HOME") + "/token";
    if (path.empty() && !variable("HOME").empty()) path = variable("HOME") + "/.cache/huggingface/token";
    std::ifstream in(path);
    std::getline(in, hub.token);
  }
  while (!hub.token.empty() && std::isspace(static_cast<unsigned char>(hub.token.back()))) hub.token.pop_back();
  return hub;
}

std::string Hub::listing_url(const HubName& name) const {
  return fmt::format("{}/api/models/{}/revision/{}?blobs=true", endpoint, name.repo, name.revision);
}

std::string Hub::file_url(const HubName& name, const std::string& commit, const std::string& path) const {
  std::string escaped;
  for (const char c : path) {
    if (std::isalnum(static_cast<unsigned char>(c)) || std::string_view("-_./").find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return fmt::format("{}/{}/resolve/{}/{}", endpoint, name.repo, commit, escaped);
}

}  // namespace vibee
