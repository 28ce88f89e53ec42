// SPDX-License-Identifier: Apache-2.0
// vibee quantize and vibee verify: a model in fewer bits with a certificate of what it is, and whether a file is what
// its certificate says.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vibee/compress/quantize/allocate.h"
#include "vibee/compress/quantize/calibrate.h"
#include "vibee/compress/quantize/certificate.h"
#include "vibee/compress/quantize/quantize_model.h"

namespace vibee {

/// A text that the user names.
struct NamedText {
  std::string name, text;
};

struct QuantizeConfig {
  std::string source;                    ///< a path, or a name in the cache
  std::string target;                    ///< a GGUF file; of a scheme, a directory
  std::string format = "q4_k_m";         ///< a recipe
  std::string scheme = "gguf";           ///< or "exl2", "any", "atom", "quanto:TYPE", "gptq", ...: directories
  uint32_t seed_bits = 3;                ///< its narrowest width
  uint32_t parent_bits = 8;              ///< its widest
  std::string table = "lut";             ///< its values: a table a row and width, or "affine"
  bool pure = false;                     ///< every matrix in its base format
  std::string budget;                    ///< "4.25bpw", "90MiB", "300tok/s", "0.01nats": formats are chosen a matrix
                                         ///< instead (allocate.h)
  std::vector<std::string> choices;      ///< from these; empty: kBudgetFormats
  uint32_t probe_windows = 8;            ///< of the calibration text, on which a matrix is measured
  std::string measurement;               ///< a file that keeps what was measured; empty: none
  std::string picture;                   ///< an SVG of size and damage; empty: none
  std::string solver = "search";         ///< or "gptq": errors are made up for (gptq.h)
  bool smooth_attention = false;         ///< channels of keys are levelled (qserve.h)
  std::optional<NamedText> calibration;  ///< whose importance is measured
  std::string imatrix;                   ///< a file of it instead
  std::string save_imatrix;              ///< where what was measured goes
  std::optional<NamedText> text;         ///< held out: the result is measured on it
  uint32_t context = 512;                ///< tokens of a window, of either text
  uint32_t windows = 0;                  ///< of `text`, at most; 0: all
  uint32_t threads = 0;                  ///< 0: one a core
  uint32_t head_bits = 6;                ///< of exl2: about so many of a head with weights of its own
  std::string optimizer = "max";         ///< of quanto: or "hqq", shifts are searched
  uint32_t bits = 0;                     ///< of gptq, awq, ...: of a code; 0: as the source, 4
  int64_t group = 0;                     ///< and atom: elements of a group; -1: a row; 0: as fits
  bool asymmetric = false;               ///< zero points are chosen
  std::vector<std::string> include = {}, exclude = {};  ///< patterns of modules of both; no include: all
};

/// What is being done, how far it is, of how much and in what; false stops.
struct WorkProgress {
  std::string_view what, unit;
  double done, total;
};
using OnWork = std::function<bool(const WorkProgress&)>;

/// SHA-256 of a text.
std::string text_hash(const std::string& text);
/// The calibration text as the model reads it.
struct Calibration {
  std::vector<int32_t> tokens;
  CalibrateOptions options;  ///< whose progress is `on_work`'s, which has to outlive this
};
Result<Calibration> calibration_of(const QuantizeConfig& config, const Checkpoint& file, uint32_t threads,
                                   const OnWork& on_work);
/// Memory for sums of products of inputs: a quarter of what is there, a GiB at most.
uint64_t hessian_bytes();

/// What a budget is spent on where nothing else is named: formats of GGUF in blocks of 256 and of 32.
inline constexpr std::string_view kBudgetFormats[] = {"q2_k", "q3_k",   "iq4_xs", "q4_k", "q5_k",
                                                      "q6_k", "iq4_nl", "q5_0",   "q8_0"};

struct QuantizeResult {
  std::string source;
  QuantizeReport report;
  Certificate certificate;
  std::optional<Allocation> allocation;  ///< of a budget
  std::vector<std::string> warnings;
  double seconds = 0, encode_seconds = 0;
};

/// A GGUF file; other schemes have jobs of their own (quantize_scheme.h).
Result<QuantizeResult> quantize(const QuantizeConfig& config, const OnWork& on_work);

struct VerifyConfig {
  std::string file = {};
  std::string base = {};               ///< empty: what it was made from is not looked at
  std::optional<NamedText> text = {};  ///< the one of the certificate; without it nothing is measured again
  uint32_t threads = 0;
};

/// One claim of a certificate.
struct Claim {
  std::string what, claimed, found;
  bool holds;
};

struct VerifyResult {
  std::string path;
  Certificate certificate;
  std::vector<Claim> claims;  ///< that were looked at
  bool holds() const;
};

/// Refuses a file without a certificate, and a text with which a certificate says nothing.
Result<VerifyResult> verify(const VerifyConfig& config, const OnWork& on_work);

}  // namespace vibee
