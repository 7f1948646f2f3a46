#include "text/bpe_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace gptq {
namespace {

constexpr char32_t kLowCharacters = 0x800;
constexpr size_t kCutFrom = 64;         // bytes: pieces longer than this are cut where no merge crosses
constexpr size_t kLongestToken = 4096;  // bytes
constexpr int32_t kUnknownSymbol = -1;
constexpr size_t kLongestPiece = UINT32_MAX / 2;

bool TakesPartInMerges(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
}

char32_t FirstCharacter(std::string_view text) { return DecodeUtf8(text, 0).value; }

char32_t LastCharacter(std::string_view text) {
  size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return DecodeUtf8(text, start).value;
}

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Token ids from the highest score to the lowest; equal scores by id.
std::vector<int32_t> ByScore(const std::vector<float>& scores, std::string_view where) {
  for (const float score : scores) {
    if (std::isnan(score)) throw Error("a token's score is not a number", where, "fetch the file again");
  }
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return order;
}

}  // namespace

BpeModel::BpeModel(const Vocabulary& vocabulary, const BpeOptions& options, std::string_view where)
    : vocabulary_(vocabulary),
      options_(options),
      low_start_(kLowCharacters, kUnknownSymbol),
      next_symbol_(vocabulary.size()) {
  byte_tokens_.fill(-1);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.Text(id);
    if (text.size() > kLongestToken)
      throw Error(Concat("token ", id, " is ", text.size(), " bytes long"), where, "fetch the file again");
    if (const auto byte = ByteOfToken(text); byte && byte_tokens_[*byte] < 0) byte_tokens_[*byte] = id;
    if (text.empty() || vocabulary.Find(text) != id) continue;
    const CodePoint first = DecodeUtf8(text, 0);
    if (first.valid && first.size == text.size()) SetStart(first.value, id);
  }
}

BpeModel::BpeModel(const Vocabulary& vocabulary, const MergeList& merges, const BpeOptions& options,
                   std::string_view where)
    : BpeModel(vocabulary, options, where) {
  uint32_t rank = 0;
  for (const auto& merge : merges) {
    const auto& [left, right] = merge;
    const auto find = [&](const std::string& text) {
      const std::optional<int32_t> id = vocabulary.Find(text);
      if (!id) {
        throw Error(Concat("merge ", rank, " ('", merge.first, "' and '", merge.second, "') needs '", text,
                           "', which is no token"),
                    where, "the vocabulary and the merges do not belong together");
      }
      return *id;
    };
    merges_.Insert(find(left), find(right), {rank, find(left + right)});
    AllowNeighbours(left, right);
    ++rank;
  }
}

BpeModel::BpeModel(const Vocabulary& vocabulary, const std::vector<float>& scores,
                   const std::vector<TokenKind>& kinds, const BpeOptions& options, std::string_view where)
    : BpeModel(vocabulary, options, where) {
  CHECK(scores.size() == static_cast<size_t>(vocabulary.size()) && kinds.size() == scores.size());
  uint32_t rank = 0;
  float last = 0;
  for (const int32_t token : ByScore(scores, where)) {
    const TokenKind kind = kinds[static_cast<size_t>(token)];
    if (!TakesPartInMerges(kind) || vocabulary.Find(vocabulary.Text(token)) != token) continue;
    const float score = scores[static_cast<size_t>(token)];
    if (score != last) ++rank;  // equal scores share a rank: the leftmost goes first
    last = score;
    AddSplits(token, rank, kind == TokenKind::kUnused);
  }
}

void BpeModel::SetStart(char32_t character, int32_t symbol) {
  if (character < kLowCharacters) {
    low_start_[character] = symbol;
  } else {
    high_start_[character] = symbol;
  }
}

int32_t BpeModel::StartSymbol(char32_t character) const {
  if (character < kLowCharacters) return low_start_[character];
  const auto it = high_start_.find(character);
  return it == high_start_.end() ? kUnknownSymbol : it->second;
}

void BpeModel::AllowNeighbours(std::string_view left, std::string_view right) {
  if (left.empty() || right.empty()) return;
  neighbours_.insert(PairKey(StartSymbol(LastCharacter(left)), StartSymbol(FirstCharacter(right))));
}

bool BpeModel::MayJoin(int32_t left, int32_t right) const {
  if (left == kUnknownSymbol && right == kUnknownSymbol) return true;  // may have to be fused
  return neighbours_.contains(PairKey(left, right));
}

// A symbol for the token, or for the single character that is none; kUnknownSymbol for other text.
int32_t BpeModel::TokenOrCharacter(std::string_view text) {
  if (const auto id = vocabulary_.Find(text)) return *id;
  const CodePoint c = DecodeUtf8(text, 0);
  if (!c.valid || c.size != text.size()) return kUnknownSymbol;
  if (StartSymbol(c.value) == kUnknownSymbol) SetStart(c.value, next_symbol_++);
  return StartSymbol(c.value);
}

void BpeModel::AddSplits(int32_t token, uint32_t rank, bool unused) {
  const std::string_view text = vocabulary_.Text(token);
  for (size_t cut = CharacterSize(text, 0); cut < text.size(); cut += CharacterSize(text, cut)) {
    const int32_t left = TokenOrCharacter(text.substr(0, cut));
    const int32_t right = left == kUnknownSymbol ? left : TokenOrCharacter(text.substr(cut));
    if (left == kUnknownSymbol || right == kUnknownSymbol) continue;
    merges_.Insert(left, right, {rank, token});
    AllowNeighbours(text.substr(0, cut), text.substr(cut));
    if (unused && left < vocabulary_.size() && right < vocabulary_.size()) unused_[token] = {left, right};
  }
}

std::vector<Symbol> BpeModel::Start(std::string_view piece) const {
  if (piece.size() > kLongestPiece) throw Error("a text of more than 2 GiB", "tokenizer", "give it in parts");
  const bool drop_unknown = !options_.byte_fallback && !options_.unknown;
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t i = 0; i < piece.size();) {
    const CodePoint c = DecodeUtf8(piece, i);
    const int32_t id = StartSymbol(c.value);
    if (id != kUnknownSymbol || !drop_unknown) {
      symbols.push_back({id, static_cast<uint32_t>(i), static_cast<uint32_t>(c.size)});
    }
    i += c.size;
  }
  return symbols;
}

void BpeModel::Encode(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_.Find(piece)) return ids.push_back(*id);
  }
  if (piece.size() > kCutFrom) return EncodeLong(piece, cache, ids);
  if (cache.Append(piece, ids)) return;
  const size_t begin = ids.size();
  std::vector<Symbol> symbols = Start(piece);
  EncodeSymbols(piece, symbols, ids);
  cache.Remember(piece, ids, begin);
}

void BpeModel::EncodeLong(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const {
  const std::vector<Symbol> symbols = Start(piece);
  std::vector<Symbol> part;
  for (size_t begin = 0, end = 0; begin < symbols.size(); begin = end) {
    for (end = begin + 1; end < symbols.size() && MayJoin(symbols[end - 1].id, symbols[end].id);) ++end;
    const size_t first_byte = symbols[begin].begin;
    const std::string_view text =
        piece.substr(first_byte, symbols[end - 1].begin + symbols[end - 1].size - first_byte);
    if (text.size() <= kCutFrom && cache.Append(text, ids)) continue;
    const size_t known = ids.size();
    part.assign(symbols.begin() + static_cast<ptrdiff_t>(begin),
                symbols.begin() + static_cast<ptrdiff_t>(end));
    EncodeSymbols(piece, part, ids);
    if (text.size() <= kCutFrom) cache.Remember(text, ids, known);
  }
}

void BpeModel::EncodeSymbols(std::string_view piece, std::vector<Symbol>& symbols,
                             std::vector<int32_t>& ids) const {
  MergeSymbols(merges_, symbols);
  bool after_unknown = false;
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0 && symbol.id < vocabulary_.size()) {
      EmitToken(symbol.id, ids);
      after_unknown = false;
    } else if (options_.byte_fallback && EmitBytes(piece.substr(symbol.begin, symbol.size), ids)) {
      after_unknown = false;
    } else if (options_.unknown) {
      if (!after_unknown || !options_.fuse_unknown) ids.push_back(*options_.unknown);
      after_unknown = true;
    }
  }
}

void BpeModel::EmitToken(int32_t id, std::vector<int32_t>& ids) const {
  const auto it = unused_.find(id);
  if (it == unused_.end()) return ids.push_back(id);
  EmitToken(it->second.first, ids);
  EmitToken(it->second.second, ids);
}

bool BpeModel::EmitBytes(std::string_view text, std::vector<int32_t>& ids) const {
  const auto token = [&](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)]; };
  if (std::any_of(text.begin(), text.end(), [&](char byte) { return token(byte) < 0; })) return false;
  for (const char byte : text) ids.push_back(token(byte));
  return true;
}

}  // namespace gptq
