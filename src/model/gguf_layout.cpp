#include "model/gguf_layout.h"

#include <algorithm>

#include "base/error.h"

namespace gptq {
namespace {

std::string Filled(std::string name, int64_t block) {
  const size_t place = name.find("{block}");
  return place == std::string::npos ? name : name.replace(place, 7, std::to_string(block));
}

// What the section says of a role, the block's number still open.
GgufPlace PlaceOf(const Json& section, const ModelSpec& spec, const std::string& role) {
  const auto listed = [&](const char* key) {
    const auto roles = section.value(key, std::vector<std::string>());
    return std::ranges::count(roles, role) > 0;
  };
  GgufPlace place;
  place.name = spec.gguf_names.find(role)->second;
  place.whole = listed("whole_tensors");
  if (listed("interleaved_rows")) place.rows = GgufRows::kInterleaved;
  if (listed("concatenated_rows")) place.rows = GgufRows::kConcatenated;
  if (listed("with_norm_offset")) place.added = spec.norm_offset;
  place.transposed = spec.transposed_linears && place.name.find("{block}") != std::string::npos;
  place.float32 = role.ends_with("norm") || role.ends_with("router") || role == "positions";
  const Json joined = section.value("joined", Json::object()).value(role, Json());
  if (joined.is_object()) {
    place.joined_key = joined.at("key").get<std::string>();
    place.joined_value = joined.at("value").get<std::string>();
  }
  return place;
}

// Rows of groups of queries, a key and a value each.
std::vector<int32_t> ConcatenatedRows(const ModelSpec& spec, int64_t count) {
  const int64_t d = spec.head_dim, sharing = spec.heads / spec.kv_heads, group = (sharing + 2) * d;
  if (count != group * spec.kv_heads) return {};
  std::vector<int32_t> order(static_cast<size_t>(count));
  for (int64_t row = 0; row < count; ++row) {
    const int64_t of_group = row / group, head = row % group / d, in_head = row % d;
    int64_t stored = (of_group * sharing + head) * d;
    if (head == sharing) stored = spec.query_width() + of_group * d;
    if (head > sharing) stored = spec.query_width() + spec.kv_width() + of_group * d;
    order[static_cast<size_t>(row)] = static_cast<int32_t>(stored + in_head);
  }
  return order;
}

}  // namespace

std::map<std::string, GgufPlace> GgufPlaces(const Architecture& architecture, const ModelSpec& spec) {
  std::map<std::string, GgufPlace> places;
  const Json& section = architecture.json.at("gguf");
  for (const auto& [role, ignored] : spec.gguf_names) {
    if (!spec.Has(role)) continue;
    const GgufPlace place = PlaceOf(section, spec, role);
    const std::string& module = spec.tensor_names.find(role)->second;
    const bool in_block = place.name.find("{block}") != std::string::npos;
    const bool experts = module.find("{expert}") != std::string::npos;
    const bool heads = module.find("{head}") != std::string::npos;
    const int64_t parts = experts ? spec.experts.experts : heads ? spec.heads : 0;
    for (int64_t block = 0; block < (in_block ? spec.layers : 1); ++block) {
      for (int64_t part = 0; part < std::max<int64_t>(parts, 1); ++part) {
        GgufPlace filled = place;
        filled.name = Filled(place.name, block);
        filled.joined_key = Filled(place.joined_key, block);
        filled.joined_value = Filled(place.joined_value, block);
        if (parts > 0) filled.part = part;
        places[spec.Name(role, block, part)] = std::move(filled);
      }
    }
  }
  return places;
}

std::vector<std::pair<std::string, std::string>> TensorsAt(const std::string& module,
                                                           const GgufPlace& place) {
  if (!place.whole) return {{module, "weight"}, {module, "bias"}};
  const size_t dot = module.rfind('.');
  CHECK(dot != std::string::npos);
  return {{module.substr(0, dot), module.substr(dot + 1)}};
}

bool IsRotaryFactors(std::string_view name) {
  return name == "rope_freqs.weight" || name == "rope_factors_short.weight" ||
         name == "rope_factors_long.weight";
}

std::vector<int32_t> GgufRowOrder(GgufRows rows, const ModelSpec& spec, int64_t count) {
  if (rows == GgufRows::kConcatenated && spec.fused_layout == FusedLayout::kGrouped)
    return ConcatenatedRows(spec, count);
  if (rows != GgufRows::kInterleaved || count % spec.head_dim != 0) return {};
  const int64_t half = spec.head_dim / 2;
  std::vector<int32_t> order(static_cast<size_t>(count));
  for (int64_t row = 0; row < count; ++row) {
    const int64_t in_head = row % spec.head_dim;
    order[static_cast<size_t>(row)] =
        static_cast<int32_t>(row - in_head + in_head % half * 2 + in_head / half);
  }
  return order;
}

}  // namespace gptq
