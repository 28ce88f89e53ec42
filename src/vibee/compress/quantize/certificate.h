// SPDX-License-Identifier: Apache-2.0
// What a quantised file says of itself under vibee.certificate.*: how it was made, from what, and, where it was
// measured on a text, how far it is from its base. Fields have fixed lengths once the texts among them are known, so
// that what is measured on the finished file can be written into it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "vibee/base/thread/team.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {

struct Certificate {
  std::string recipe;
  bool pure = false;
  std::string base;         ///< content_hash of the model it was made from
  std::string weights;      ///< content_hash of the file
  std::string importance;   ///< Importance::hash; empty: none was used
  std::string solver;       ///< who chose the codes: "gptq", or empty: the formats' encoders
  std::string edit;         ///< what was done to the model before: "smooth_attention", or empty
  std::string calibration;  ///< SHA-256 of the text that the importance comes from; empty: not known

  struct Quality {
    std::string text = {};  ///< SHA-256
    uint32_t context = 0, windows = 0;
    double perplexity = 0, perplexity_error = 0, base_perplexity = 0;
    double kl = 0, kl_error = 0;                   ///< KL(base || file), nats a token
    double top1 = 0, top1_low = 0, top1_high = 0;  ///< share of equal best tokens, its 95 % interval
    double prompt_rate = 0, generate_rate = 0;     ///< tokens/s
    std::string machine = {};                      ///< on which: processor and threads
  };
  std::optional<Quality> quality;

  void put(GgufMetadata* metadata) const;
  /// Code::not_found where the file has none; what is missing or of another type is named.
  static Result<Certificate> read(const Checkpoint& file);
  /// Takes what a file says out of metadata that another one begins with.
  static void drop(GgufMetadata* metadata);
};

/// SHA-256 over names, formats, shapes and bytes of all tensors, whatever the container and their order. `progress`
/// gets the bytes read; false stops.
Result<std::string> content_hash(const Checkpoint& file, Team& team,
                                 const std::function<bool(uint64_t done, uint64_t of)>& progress = nullptr);

/// Wilson's interval of 95 % of a share that was counted n times.
struct Interval {
  double low, high;
};
Interval wilson(double share, uint64_t n);

}  // namespace vibee
