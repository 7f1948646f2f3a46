#include "workflow/model_size.h"

#include "quant/linear_tensors.h"

namespace gptq {

int64_t StoredParameters(const CheckpointReader& reader, const std::string& name, const TensorView& view,
                         const std::optional<QuantizationConfig>& quantization) {
  if (!quantization) return view.elements();
  const WeightFormat format = quantization->settings.format;
  const std::optional<std::string> module = ModuleOf(name, format);
  if (!module) return view.elements();
  if (name != CodesName(*module, format)) return 0;
  const std::optional<LinearSettings> settings = SettingsOf(*quantization, *module);
  if (!settings) return view.elements();
  const auto find = [&](const std::string& tensor) { return reader.Find(tensor); };
  return StoredWeights(find, *module, *settings);
}

ModelSize MeasureSize(ModelFiles& model) {
  const CheckpointReader& reader = model.reader();
  std::set<std::string> ends;
  for (const char* role : {"embedding", "head", "positions"}) {
    if (model.spec().Has(role)) ends.insert(model.source().StoredName(model.spec().Name(role), "weight"));
  }
  int64_t bytes = 0, parameters = 0;
  for (const std::string& name : reader.names()) {
    const TensorView view = reader.Get(name);
    if (ends.contains(name) || view.shape.size() < 2 || name.ends_with(".g_idx")) continue;
    bytes += view.bytes();
    parameters += StoredParameters(reader, name, view, model.quantization());
  }
  return {reader.tensor_bytes(),
          parameters > 0 ? 8 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0};
}

Json SizeJson(ModelFiles& model) {
  const ModelSize size = MeasureSize(model);
  return {{"path", model.reader().path().string()},
          {"bytes", size.bytes},
          {"bits_per_weight", size.bits_per_weight}};
}

}  // namespace gptq
