// Byte-pair encoding: pieces start as characters, and neighbours are joined by merges.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "text/merger.h"
#include "text/pair_table.h"
#include "text/subword_model.h"
#include "text/vocabulary.h"

namespace gptq {

struct BpeOptions {
  bool byte_fallback = false;  // characters without a token become "<0xNN>" tokens, one a byte
  bool ignore_merges = false;  // a piece that is a token is taken whole
  bool fuse_unknown = false;   // neighbouring unknown characters give one unknown token
  std::optional<int32_t> unknown = std::nullopt;  // the token of an unknown character; none: it is dropped
};

// Kinds of tokens in SentencePiece and GGUF files.
enum class TokenKind : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

using MergeList = std::vector<std::pair<std::string, std::string>>;

class BpeModel : public SubwordModel {
 public:
  // `merges` in order of their rank. The vocabulary must outlive the model. Throws Error naming `where` for a
  // merge of tokens that the vocabulary lacks.
  BpeModel(const Vocabulary& vocabulary, const MergeList& merges, const BpeOptions& options,
           std::string_view where);
  // SentencePiece: two neighbours whose joined text is a token may be joined, the highest score first.
  // scores, kinds: [vocabulary.size()].
  BpeModel(const Vocabulary& vocabulary, const std::vector<float>& scores,
           const std::vector<TokenKind>& kinds, const BpeOptions& options, std::string_view where);

  void Encode(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const override;

 private:
  BpeModel(const Vocabulary& vocabulary, const BpeOptions& options, std::string_view where);
  void SetStart(char32_t character, int32_t symbol);
  int32_t StartSymbol(char32_t character) const;
  void AllowNeighbours(std::string_view left, std::string_view right);
  bool MayJoin(int32_t left, int32_t right) const;
  int32_t TokenOrCharacter(std::string_view text);
  void AddSplits(int32_t token, uint32_t rank, bool unused);

  std::vector<Symbol> Start(std::string_view piece) const;
  void EncodeLong(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const;
  void EncodeSymbols(std::string_view piece, std::vector<Symbol>& symbols, std::vector<int32_t>& ids) const;
  void EmitToken(int32_t id, std::vector<int32_t>& ids) const;
  bool EmitBytes(std::string_view text, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  std::array<int32_t, 256> byte_tokens_;  // -1: none
  PairTable merges_;
  // Symbols that pieces start with: tokens of one character, and (ids beyond the vocabulary) characters that
  // are no token but part of one.
  std::vector<int32_t> low_start_;  // characters below 0x800; -1: none
  std::unordered_map<char32_t, int32_t> high_start_;
  int32_t next_symbol_ = 0;
  // Pairs of starting symbols that stand side by side in some merged token. No merge crosses any other pair,
  // so that long text may be cut there.
  std::unordered_set<uint64_t> neighbours_;
  std::unordered_map<int32_t, std::pair<int32_t, int32_t>> unused_;  // token -> what it is taken apart into
};

}  // namespace gptq
