// SPDX-License-Identifier: Apache-2.0
// A model whose linears are quantised as EXL2 (exl2.h): what each option costs each of them, which one each gets, and
// the directory that is written.
#pragma once

#include <map>
#include <optional>

#include "vibee/compress/quantize/allocate.h"
#include "vibee/compress/quantize/exl2_pack.h"
#include "vibee/compress/quantize/gptq_solver.h"

namespace vibee {

/// Which option each linear of the layers gets.
struct Exl2Allocation {
  std::map<std::string, Exl2Option, std::less<>> options;
  uint64_t bits = 0;      ///< of these linears, with everything that a file holds of them
  uint64_t elements = 0;  ///< weights of these linears
  double predicted = 0;   ///< as in Allocation
  double bound = 0;
};

class Exl2Model {
 public:
  /// All of these must outlive this.
  static Result<Exl2Model> open(const Checkpoint& file, Hessians& hessians, Team& team, Isa isa);

  /// Linears of layers, which a budget is spent on: matrices that something is multiplied by, with rows and
  /// outputs of a multiple of 32, experts excepted.
  std::span<const TensorInfo> linears() const { return linears_; }
  /// A head with weights of its own; its outputs may be padded, for the embedding says how many there are.
  const std::optional<TensorInfo>& head() const { return head_; }
  /// Matrices that are left in float16.
  uint64_t left() const { return left_; }

  /// `linear` in whatever format.
  Result<Exl2Matrix> quantize(const TensorInfo& linear, const Exl2Option& option);
  /// Of every linear the options whose groups differ, the error of each tr(dW H dW^T) / tr(W H W^T); false from
  /// `progress(linears done, of)` stops. Without `kl`.
  Result<std::vector<MatrixChoices>> measure(const std::function<bool(uint64_t, uint64_t)>& progress);
  /// How the model is read with one linear quantised.
  Result<RecastOptions> changed(const MatrixChoices& linear, size_t choice);
  /// Whether choices are options.
  static Status check(const MatrixChoices& linear, const TensorInfo& tensor);

  /// The least damage in so many bits; an error says how many there have to be.
  Result<Exl2Allocation> allocate(std::span<const MatrixChoices> linears, uint64_t bits) const;

  struct Write {
    std::string directory;
    uint32_t head_bits = 6;  ///< of a head with weights of its own
    std::span<const TokenizerFile> tokenizer = {};
    WriteProgress progress = nullptr;
  };
  /// A directory with a quantization_config; what is no linear is float16. It appears whole or not at all.
  Status write(const Exl2Allocation& allocation, const Write& how);

 private:
  Exl2Model(const Checkpoint& file, Recast exact, Hessians& hessians, Team& team, Isa isa)
      : file_(&file), exact_(std::move(exact)), hessians_(&hessians), team_(&team), isa_(isa) {}
  Result<const SortedInputs*> inputs(const TensorInfo& linear);
  const Checkpoint* file_;
  Recast exact_;  ///< in floats
  Hessians* hessians_;
  Team* team_;
  Isa isa_;
  std::vector<TensorInfo> linears_;
  std::optional<TensorInfo> head_;
  uint64_t left_ = 0;
  std::string factored_;  ///< whose inputs are kept
  std::optional<SortedInputs> inputs_;
};

}  // namespace vibee
