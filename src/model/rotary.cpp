#include "model/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace gptq {
namespace {

double Number(const Json& json, const char* key, double fallback, std::string_view where) {
  if (!json.contains(key) || json.at(key).is_null()) return fallback;
  const Json& value = json.at(key);
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    throw Error(Concat("rotary key '", key, "' is not a number"), where, "correct the file");
  }
  return value.get<double>();
}

double Positive(const Json& json, const char* key, double fallback, std::string_view where) {
  const double value = Number(json, key, fallback, where);
  if (value <= 0)
    throw Error(Concat("rotary key '", key, "' is ", value, ", must be above 0"), where, "correct the file");
  return value;
}

// Dimension whose wavelength makes `rotations` turns within the original context (YaRN, arXiv 2309.00071).
double CorrectionDimension(const RotarySpec& spec, double rotations) {
  return static_cast<double>(spec.dimensions) *
         std::log(spec.original_positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(spec.base));
}

void ReadYarn(const Json& json, std::string_view where, RotarySpec* spec) {
  spec->scaling = RotaryScaling::kYarn;
  if (spec->base <= 1)
    throw Error(Concat("rotary key 'rope_theta' is ", spec->base, ", yarn needs more than 1"), where,
                "correct the file");
  spec->beta_fast = Positive(json, "beta_fast", 32.0, where);
  spec->beta_slow = Positive(json, "beta_slow", 1.0, where);
  if (json.contains("truncate") && !json.at("truncate").is_null()) {
    if (!json.at("truncate").is_boolean())
      throw Error("rotary key 'truncate' is not true or false", where, "correct the file");
    spec->truncate = json.at("truncate").get<bool>();
  }
  const auto magnitude = [&](double mscale) {
    return spec->factor <= 1 ? 1.0 : 0.1 * mscale * std::log(spec->factor) + 1.0;
  };
  const double mscale = Number(json, "mscale", 0, where),
               mscale_all = Number(json, "mscale_all_dim", 0, where);
  spec->attention_factor =
      mscale != 0 && mscale_all != 0 ? magnitude(mscale) / magnitude(mscale_all) : magnitude(1.0);
  spec->attention_factor = Positive(json, "attention_factor", spec->attention_factor, where);
  if (mscale_all != 0) spec->score_factor = magnitude(mscale_all) * magnitude(mscale_all);
}

std::vector<double> Factors(const Json& json, const char* key, int64_t pairs, std::string_view where) {
  const Json list = json.value(key, Json());
  std::vector<double> factors;
  if (list.is_array() && static_cast<int64_t>(list.size()) == pairs) {
    for (const Json& value : list) {
      if (value.is_number() && value.get<double>() > 0) factors.push_back(value.get<double>());
    }
  }
  if (static_cast<int64_t>(factors.size()) != pairs) {
    throw Error(Concat("rotary key '", key, "' is not a list of ", pairs, " numbers above 0"), where,
                "correct the file");
  }
  return factors;
}

// LongRoPE (arXiv 2402.13753).
void ReadLongRope(const RotarySource& source, RotarySpec* spec) {
  const Json& json = source.scaling;
  spec->scaling = RotaryScaling::kLongRope;
  for (const char* key : {"short_mscale", "long_mscale"}) {
    if (!json.value(key, Json()).is_null())
      throw Error(Concat("rotary key '", key, "' is not supported"), source.where, "use another model");
  }
  spec->short_factors = Factors(json, "short_factor", source.dimensions / 2, source.where);
  spec->long_factors = Factors(json, "long_factor", source.dimensions / 2, source.where);
  const double stretch =
      Positive(json, "factor", source.max_positions / spec->original_positions, source.where);
  if (stretch > 1) {
    if (spec->original_positions <= 1)
      throw Error("longrope needs more than one original position", source.where, "correct the file");
    spec->attention_factor = std::sqrt(1 + std::log(stretch) / std::log(spec->original_positions));
  }
  spec->attention_factor = Positive(json, "attention_factor", spec->attention_factor, source.where);
}

RotarySpec ParseRotary(const RotarySource& source) {
  const std::string_view where = source.where;
  RotarySpec spec;
  spec.dimensions = source.dimensions;
  spec.base = source.base;
  const Json& json = source.scaling;
  if (json.is_null()) return spec;
  if (!json.is_object())
    throw Error(Concat("rotary scaling is ", Dump(json), ", no object"), where, "correct the file");

  spec.base = Positive(json, "rope_theta", spec.base, where);
  const Json kind_value =
      json.contains("rope_type") ? json.at("rope_type") : json.value("type", Json("default"));
  const std::string kind = kind_value.is_string() ? kind_value.get<std::string>() : kind_value.dump();
  if (kind == "default") return spec;
  spec.factor = Positive(json, "factor", 1.0, where);
  spec.original_positions =
      Positive(json, "original_max_position_embeddings", source.original_positions, where);
  if (kind == "linear") {
    spec.scaling = RotaryScaling::kLinear;
  } else if (kind == "llama3") {
    spec.scaling = RotaryScaling::kLlama3;
    spec.low_frequency_factor = Positive(json, "low_freq_factor", 1.0, where);
    spec.high_frequency_factor = Positive(json, "high_freq_factor", 4.0, where);
    if (spec.high_frequency_factor <= spec.low_frequency_factor) {
      throw Error("rotary key 'high_freq_factor' is not above 'low_freq_factor'", where, "correct the file");
    }
  } else if (kind == "yarn") {
    ReadYarn(json, where, &spec);
  } else if (kind == "longrope" || kind == "su") {
    ReadLongRope(source, &spec);
  } else {
    throw Error(Concat("rotary scaling '", kind, "' is not known"), where,
                "known are default, linear, llama3, yarn, longrope");
  }
  return spec;
}

}  // namespace

RotarySpec ReadRotarySpec(const RotarySource& source) {
  RotarySpec spec = ParseRotary(source);
  constexpr double kLimit = 1e6;  // published models stay near 1
  const auto absurd = [](double value) { return !(value >= 0 && value <= kLimit); };
  const int64_t original = static_cast<int64_t>(std::min(spec.original_positions, 1e15));
  if (absurd(spec.attention_factor) || absurd(spec.score_factor) ||
      std::ranges::any_of(RotaryFrequencies(spec), absurd) ||
      std::ranges::any_of(RotaryFrequencies(spec, original + 1), absurd)) {
    throw Error("rotary values (rope_theta, rope_scaling) that give absurd angles", source.where,
                "correct the file");
  }
  return spec;
}

std::vector<double> RotaryFrequencies(const RotarySpec& spec, int64_t tokens) {
  const int64_t pairs = spec.dimensions / 2;
  std::vector<double> frequencies(static_cast<size_t>(pairs));
  double low = 0, high = 0;
  if (spec.scaling == RotaryScaling::kYarn) {
    low = CorrectionDimension(spec, spec.beta_fast);
    high = CorrectionDimension(spec, spec.beta_slow);
    if (spec.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(spec.dimensions - 1));
    if (low == high) high += 0.001;
  }
  for (int64_t i = 0; i < pairs; ++i) {
    const double plain =
        std::pow(spec.base, -2.0 * static_cast<double>(i) / static_cast<double>(spec.dimensions));
    const double stretched = plain / spec.factor;
    double frequency = plain;
    if (spec.scaling == RotaryScaling::kLinear) {
      frequency = stretched;
    } else if (spec.scaling == RotaryScaling::kYarn) {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      frequency = stretched * ramp + plain * (1 - ramp);
    } else if (spec.scaling == RotaryScaling::kLlama3) {
      const double turns =
          spec.original_positions * plain / (2 * std::numbers::pi);  // within the original context
      const double smooth = std::clamp(
          (turns - spec.low_frequency_factor) / (spec.high_frequency_factor - spec.low_frequency_factor), 0.0,
          1.0);
      frequency = (1 - smooth) * stretched + smooth * plain;
    } else if (spec.scaling == RotaryScaling::kLongRope) {
      const bool is_long = static_cast<double>(tokens) > spec.original_positions;
      frequency = plain / (is_long ? spec.long_factors : spec.short_factors)[static_cast<size_t>(i)];
    }
    frequencies[static_cast<size_t>(i)] = frequency;
  }
  return frequencies;
}

RotaryTable MakeRotaryTable(const RotarySpec& spec, int64_t positions, int64_t tokens) {
  const std::vector<double> frequencies = RotaryFrequencies(spec, tokens);
  RotaryTable table;
  table.interleaved = spec.interleaved;
  table.pairs = static_cast<int64_t>(frequencies.size());
  table.cosine.reserve(static_cast<size_t>(positions * table.pairs));
  table.sine.reserve(static_cast<size_t>(positions * table.pairs));
  for (int64_t p = 0; p < positions; ++p) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(p) * frequency;
      table.cosine.push_back(static_cast<float>(std::cos(angle) * spec.attention_factor));
      table.sine.push_back(static_cast<float>(std::sin(angle) * spec.attention_factor));
    }
  }
  return table;
}

}  // namespace gptq
