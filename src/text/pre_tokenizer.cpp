#include "text/pre_tokenizer.h"

#include <memory>
#include <utility>

#include "text/byte_letters.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/split.h"
#include "text/unicode.h"

namespace gptq {
namespace {

constexpr std::string_view kMetaspace = "\u2581";

// Cuts every piece by find(piece, visit), which calls visit(Span) for the matches from left to right.
template <typename Find>
PieceList Cut(const PieceList& pieces, SplitBehavior behavior, bool invert, Find find) {
  PieceList result;
  result.text.reserve(pieces.text.size());
  result.ends.reserve(pieces.size());
  std::vector<MatchOrGap> matches;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view piece = pieces[i];
    matches.clear();
    size_t done = 0;
    find(piece, [&](Span match) {
      if (match.begin > done) matches.push_back({{done, match.begin}, invert});
      matches.push_back({match, !invert});
      done = match.end;
    });
    if (done < piece.size()) matches.push_back({{done, piece.size()}, invert});
    for (const Span span : ApplyBehavior(matches, behavior))
      result.Add(piece.substr(span.begin, span.end - span.begin));
  }
  return result;
}

PieceList CutByRegex(const PieceList& pieces, const Regex& regex, SplitBehavior behavior, bool invert) {
  RegexMatcher matcher(regex);
  return Cut(pieces, behavior, invert,
             [&](std::string_view piece, auto visit) { matcher.FindAll(piece, visit); });
}

PieceList CutByString(const PieceList& pieces, std::string_view text, SplitBehavior behavior, bool invert) {
  return Cut(pieces, behavior, invert, [&](std::string_view piece, auto visit) {
    for (size_t at = piece.find(text); at != std::string_view::npos;
         at = piece.find(text, at + text.size())) {
      visit(Span{at, at + text.size()});
    }
  });
}

PieceList CutByClass(const PieceList& pieces, bool (*is_member)(char32_t), SplitBehavior behavior) {
  return Cut(pieces, behavior, false, [&](std::string_view piece, auto visit) {
    for (size_t i = 0; i < piece.size();) {
      const CodePoint c = DecodeUtf8(piece, i);
      if (is_member(c.value)) visit(Span{i, i + c.size});
      i += c.size;
    }
  });
}

// Every piece through `change`.
template <typename Change>
PieceList Map(const PieceList& pieces, Change change) {
  PieceList result;
  result.text.reserve(pieces.text.size() + pieces.text.size() / 4);
  result.ends.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) result.Add(change(pieces[i], i));
  return result;
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& description, std::string_view where) { Add(description, where); }

void PreTokenizer::Add(const Json& description, std::string_view where) {
  if (description.is_null()) return;
  const std::string type = RequiredString(description, "type", where);
  if (type == "Sequence") {
    for (const Json& stage : RequiredArray(description, "pretokenizers", where)) Add(stage, where);
  } else if (type == "Split") {
    AddSplit(description, where);
  } else if (type == "ByteLevel") {
    AddByteLevel(description, where);
  } else if (type == "Metaspace") {
    AddMetaspace(description, where);
  } else {
    AddByClass(type, description, where);
  }
}

void PreTokenizer::AddSplit(const Json& description, std::string_view where) {
  const Pattern pattern = ParsePattern(description, where);
  const SplitBehavior behavior = SplitBehaviorFromName(RequiredString(description, "behavior", where), where);
  const bool invert = FindBool(description, "invert", where).value_or(false);
  if (pattern.is_regex) {
    const auto regex = std::make_shared<const Regex>(pattern.text, where);
    stages_.push_back(
        [=](const PieceList& pieces, bool) { return CutByRegex(pieces, *regex, behavior, invert); });
  } else if (pattern.text.empty()) {
    throw Error("a Split stage with an empty string", where, "correct the file");
  } else {
    stages_.push_back(
        [=](const PieceList& pieces, bool) { return CutByString(pieces, pattern.text, behavior, invert); });
  }
}

void PreTokenizer::AddByteLevel(const Json& description, std::string_view where) {
  if (FindBool(description, "add_prefix_space", where).value_or(true)) {
    stages_.push_back([](const PieceList& pieces, bool) {
      return Map(pieces, [](std::string_view piece, size_t) {
        std::string text(piece.starts_with(' ') ? 0 : 1, ' ');
        return text.append(piece);
      });
    });
  }
  if (FindBool(description, "use_regex", where).value_or(true)) {
    const auto regex = std::make_shared<const Regex>(kGpt2Pattern, where);
    stages_.push_back([=](const PieceList& pieces, bool) {
      return CutByRegex(pieces, *regex, SplitBehavior::kIsolated, false);
    });
  }
  stages_.push_back([](const PieceList& pieces, bool) {
    return Map(pieces, [](std::string_view piece, size_t) { return BytesToLetters(piece); });
  });
}

void PreTokenizer::AddMetaspace(const Json& description, std::string_view where) {
  const std::string space = FindString(description, "replacement", where).value_or(std::string(kMetaspace));
  if (space.empty()) throw Error("a Metaspace stage with an empty replacement", where, "correct the file");
  const bool legacy = FindBool(description, "add_prefix_space", where).value_or(true);
  const std::string scheme =
      FindString(description, "prepend_scheme", where).value_or(legacy ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    throw Error(Concat("unknown prepend_scheme '", scheme, "'"), where, "correct the file");
  }
  stages_.push_back([=](const PieceList& pieces, bool at_start) {
    return Map(pieces, [&](std::string_view piece, size_t i) {
      std::string text = ReplaceAll(piece, " ", space);
      const bool prepend = scheme == "always" || (scheme == "first" && at_start && i == 0);
      return prepend && !text.starts_with(space) ? space + text : text;
    });
  });
  if (FindBool(description, "split", where).value_or(true)) {
    stages_.push_back([=](const PieceList& pieces, bool) {
      return CutByString(pieces, space, SplitBehavior::kMergedWithNext, false);
    });
  }
}

void PreTokenizer::AddByClass(const std::string& type, const Json& description, std::string_view where) {
  bool (*is_member)(char32_t) = nullptr;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  if (type == "Digits") {
    is_member = IsNumeric;
    const bool single = FindBool(description, "individual_digits", where).value_or(false);
    behavior = single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
  } else if (type == "Punctuation") {
    is_member = IsPunctuation;
    behavior = SplitBehaviorFromName(FindString(description, "behavior", where).value_or("Isolated"), where);
  } else if (type == "WhitespaceSplit") {
    is_member = IsWhiteSpace;
    behavior = SplitBehavior::kRemoved;
  } else if (type == "Whitespace") {
    const auto regex = std::make_shared<const Regex>(R"(\w+|[^\w\s]+)", where);
    stages_.push_back([=](const PieceList& pieces, bool) {
      return CutByRegex(pieces, *regex, SplitBehavior::kRemoved, true);
    });
    return;
  } else {
    throw Error(Concat("the pre-tokenizer '", type, "' is not supported"), where,
                "use a model whose tokenizer has another pre-tokenizer");
  }
  stages_.push_back([=](const PieceList& pieces, bool) { return CutByClass(pieces, is_member, behavior); });
}

PieceList PreTokenizer::Apply(std::string_view text, bool at_start) const {
  PieceList pieces;
  pieces.Add(text);
  for (const Stage& stage : stages_) pieces = stage(pieces, at_start);
  return pieces;
}

}  // namespace gptq
