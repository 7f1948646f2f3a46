#include "text/unigram_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace gptq {
namespace {

constexpr int32_t kUnknown = -1;
constexpr double kUnknownPenalty = 10;  // below the lowest score, as in sentencepiece
constexpr size_t kCachedBytes = 64;

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary, const std::vector<double>& scores,
                           const UnigramOptions& options, std::string_view where)
    : options_(options), scores_(scores), token_at_{kUnknown} {
  CHECK(scores.size() == static_cast<size_t>(vocabulary.size()));
  byte_tokens_.fill(-1);
  double lowest = 0;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const double score = scores_[static_cast<size_t>(id)];
    if (!std::isfinite(score)) throw Error("a token's score is not a number", where, "fetch the file again");
    const std::string& text = vocabulary.Text(id);
    if (const auto byte = ByteOfToken(text); byte && byte_tokens_[*byte] < 0) byte_tokens_[*byte] = id;
    if (text.empty() || vocabulary.Find(text) != id) continue;
    lowest = std::min(lowest, score);
    AddToken(text, id);
  }
  unknown_score_ = lowest - kUnknownPenalty;
}

void UnigramModel::AddToken(std::string_view text, int32_t token) {
  int32_t node = 0;
  for (const char c : text) {
    const int32_t byte = static_cast<unsigned char>(c);
    if (const Merge* child = children_.Find(node, byte)) {
      node = child->joined;
    } else {
      const auto added = static_cast<int32_t>(token_at_.size());
      token_at_.push_back(kUnknown);
      children_.Insert(node, byte, {0, added});
      node = added;
    }
  }
  token_at_[static_cast<size_t>(node)] = token;
}

// The tokens that begin here, as steps to where they end; among equals the first one stays.
void UnigramModel::Extend(std::string_view piece, size_t begin, std::vector<Step>& steps) const {
  const double score = steps[begin].score;
  const auto offer = [&](size_t end, double token_score, int32_t token) {
    Step& step = steps[end];
    const double candidate = score + token_score;
    if (!step.reached || candidate > step.score) step = {candidate, begin, token, true};
  };
  const size_t character = DecodeUtf8(piece, begin).size;
  bool has_character = false;
  int32_t node = 0;
  for (size_t end = begin; end < piece.size();) {
    const Merge* child = children_.Find(node, static_cast<unsigned char>(piece[end]));
    if (child == nullptr) break;
    node = child->joined;
    ++end;
    const int32_t token = token_at_[static_cast<size_t>(node)];
    if (token == kUnknown) continue;
    offer(end, scores_[static_cast<size_t>(token)], token);
    has_character |= end - begin == character;
  }
  if (!has_character) offer(begin + character, unknown_score_, kUnknown);
}

void UnigramModel::Encode(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const {
  if (piece.size() <= kCachedBytes && cache.Append(piece, ids)) return;
  const size_t known = ids.size();
  std::vector<Step> steps(piece.size() + 1, Step{0, 0, kUnknown, false});
  steps[0].reached = true;
  for (size_t at = 0; at < piece.size(); at += DecodeUtf8(piece, at).size) {
    if (steps[at].reached) Extend(piece, at, steps);
  }
  Emit(piece, steps, ids);
  if (piece.size() <= kCachedBytes) cache.Remember(piece, ids, known);
}

void UnigramModel::Emit(std::string_view piece, const std::vector<Step>& steps,
                        std::vector<int32_t>& ids) const {
  std::vector<std::pair<size_t, int32_t>> tokens;  // begin, token or kUnknown
  for (size_t end = piece.size(); end > 0; end = steps[end].begin) {
    const Step& step = steps[end];
    const bool joins = step.token == kUnknown && !tokens.empty() && tokens.back().second == kUnknown;
    if (joins) {
      tokens.back().first = step.begin;
    } else {
      tokens.emplace_back(step.begin, step.token);
    }
  }
  for (size_t i = tokens.size(); i-- > 0;) {
    const auto [begin, token] = tokens[i];
    const size_t end = i > 0 ? tokens[i - 1].first : piece.size();
    if (token != kUnknown) {
      ids.push_back(token);
    } else if (!options_.byte_fallback || !EmitBytes(piece.substr(begin, end - begin), ids)) {
      if (options_.unknown) ids.push_back(*options_.unknown);
    }
  }
}

bool UnigramModel::EmitBytes(std::string_view text, std::vector<int32_t>& ids) const {
  const auto token = [&](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)]; };
  if (std::any_of(text.begin(), text.end(), [&](char byte) { return token(byte) < 0; })) return false;
  for (const char byte : text) ids.push_back(token(byte));
  return true;
}

}  // namespace gptq
