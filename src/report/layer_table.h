// The linears of a quantized model by block and kind.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "report/plot.h"

namespace gptq {

struct LayerName {
  int64_t block = 0;
  std::string kind;  // what is left of the name behind the block's number, without other numbers
};

// "model.layers.3.mlp.experts.7.down_proj" -> 3, "mlp.experts.down_proj". Absent where the name has no
// number.
std::optional<LayerName> ParseLayerName(const std::string& name);

// One number of each layer, as a series over the blocks for each kind; of several linears of a kind in a
// block (experts) their mean.
class LayerTable {
 public:
  explicit LayerTable(const Json& result);  // of gptq quantize

  std::vector<PlotSeries> Series(const std::string& key) const;
  // All values of `key` where they are the same; absent where they differ or where there is none.
  std::optional<double> Common(const std::string& key) const;
  std::vector<double> Values(const std::string& key) const;
  const std::vector<Json>& layers() const { return layers_; }

 private:
  std::vector<Json> layers_;
};

}  // namespace gptq
