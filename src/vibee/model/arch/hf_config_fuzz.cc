// SPDX-License-Identifier: Apache-2.0
// Any text as the config.json of a directory, then, behind lines "---", as its generation_config.json and its pooling's
// config.json; read as far as a model's configuration and the graph that its tensors are checked against.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/hf_config.h"
#include "vibee/model/weight/hf_pooling.h"
#include "vibee/model/weight/sampling_defaults.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

/// Whether it went well; a message is one line.
bool well(const vibee::Status& status) {
  require(status.ok() || (!status.message().empty() && status.message().find('\n') == std::string::npos));
  return status.ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto section = [&] {
    const size_t at = rest.find("\n---\n");
    const std::string_view part = rest.substr(0, at);
    rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 5);
    return parse_json(part);
  };
  const auto config = section(), generation = section(), pooling = section();
  if (!well(config.status())) return 0;
  const auto hf = find_hf_architecture(*config, hf_architectures());
  if (!well(hf.status())) return 0;

  CheckpointParts parts;
  parts.path = "fuzz";
  std::vector<HfComputed> computed;
  if (!well(read_hf_config(*config, **hf, &parts.metadata, &computed))) return 0;
  if (generation.ok()) well(read_generation_config(*generation, &parts.metadata));
  if (pooling.ok()) well(read_pooling_config(*pooling, (*hf)->id, &parts.metadata));
  // An embedding as the configuration asks for it, so that reading goes on to the graph.
  const auto number = [&](std::string_view key) {
    const auto at = parts.metadata.find(fmt::format("{}.{}", (*hf)->id, key));
    return at == parts.metadata.end() ? 1 : std::max<uint64_t>(1, load_u32(at->second.bytes.data()));
  };
  const uint64_t dim = number("embedding_length"), vocab = number("vocab_size");
  parts.tensors.push_back({"token_embd.weight", Format::f32, {dim, vocab}, 0, dim * vocab * 4});
  for (HfComputed& table : computed)
    parts.tensors.push_back({table.name, Format::f32, {table.values.size()}, 0, table.values.size() * 4});
  parts.source = memory_source({});
  const auto file = Checkpoint::assemble(std::move(parts));
  if (!well(file.status())) return 0;
  well(read_sampling_defaults(*file).status());
  const auto model = read_config(*file);
  require(!model.ok());  // its other tensors are missing
  well(model.status());
  return 0;
}
