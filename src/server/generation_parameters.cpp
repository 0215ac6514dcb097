#include "server/generation_parameters.h"

#include <fmt/format.h>

#include <charconv>

#include "server/api_error.h"

namespace qround::server {
namespace {

constexpr int64_t kMaxTokenId = std::numeric_limits<int32_t>::max();

template <typename T>
void read_number(const RequestFields& request, const char* key, double least, double most,
                 T& value) {
  if (const auto given = request.number(key, least, most)) value = static_cast<T>(*given);
}

SamplingOptions read_sampling(const RequestFields& request, const SamplingOptions& defaults) {
  SamplingOptions sampling = defaults;
  read_number(request, "temperature", 0, 100, sampling.temperature);
  read_number(request, "top_p", 0, 1, sampling.top_p);
  read_number(request, "min_p", 0, 1, sampling.min_p);
  read_number(request, "presence_penalty", -2, 2, sampling.presence_penalty);
  read_number(request, "frequency_penalty", -2, 2, sampling.frequency_penalty);
  read_number(request, "repetition_penalty", 0, 100, sampling.repetition_penalty);
  // -1 means all to vLLM, 0 to llama-server.
  if (const auto top_k = request.integer("top_k", -1))
    sampling.top_k = std::max<int64_t>(*top_k, 0);
  if (const auto seed = request.integer("seed", std::numeric_limits<int64_t>::min())) {
    sampling.seed = static_cast<uint64_t>(*seed);
  }
  try {
    sampling.validate();
  } catch (const Error& error) {
    throw ApiError(400, error.what());
  }
  return sampling;
}

std::vector<std::string> read_stops(const RequestFields& request, const RequestLimits& limits) {
  std::vector<std::string> stops;
  const Json* member = request.find("stop");
  if (member == nullptr) return stops;
  const auto add = [&](const Json& stop, const std::string& path) {
    if (!stop.is_string()) refuse_type(path, "a string", stop);
    if (stop.as_string().size() > limits.max_stop_bytes) {
      throw ApiError::bad_parameter(
          path, fmt::format("{} is longer than {} bytes", path, limits.max_stop_bytes));
    }
    if (!stop.as_string().empty()) stops.push_back(stop.as_string());
  };
  const std::string path = request.path_of("stop");
  if (member->is_string()) {
    add(*member, path);
    return stops;
  }
  if (!member->is_array()) refuse_type(path, "a string or an array of strings", *member);
  const Json::Array& list = *request.array("stop", limits.max_stops);
  for (size_t i = 0; i < list.size(); ++i) add(list[i], element_path(path, i));
  return stops;
}

int32_t token_id(const Json& value, const std::string& path) {
  if (!value.is_int()) refuse_type(path, "a token id", value);
  if (value.as_int() < 0 || value.as_int() > kMaxTokenId) {
    throw ApiError::bad_parameter(path, fmt::format("{} is no token id", path));
  }
  return static_cast<int32_t>(value.as_int());
}

std::vector<int32_t> read_stop_tokens(const RequestFields& request, const RequestLimits& limits) {
  std::vector<int32_t> ids;
  const Json::Array* list = request.array("stop_token_ids", limits.max_stops);
  if (list == nullptr) return ids;
  for (size_t i = 0; i < list->size(); ++i) {
    ids.push_back(token_id((*list)[i], element_path(request.path_of("stop_token_ids"), i)));
  }
  return ids;
}

std::vector<LogitBias> read_biases(const RequestFields& request, const RequestLimits& limits) {
  std::vector<LogitBias> biases;
  const auto members = request.object("logit_bias");
  if (!members) return biases;
  const JsonObject& object = members->json().as_object();
  const std::string path = request.path_of("logit_bias");
  if (object.size() > limits.max_logit_biases) {
    throw ApiError::bad_parameter(
        path, fmt::format("{} has more than {} members", path, limits.max_logit_biases));
  }
  for (const auto& [key, value] : object) {
    LogitBias bias;
    const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), bias.token);
    if (failure != std::errc() || end != key.data() + key.size() || bias.token < 0) {
      throw ApiError::bad_parameter(path, fmt::format("{}: \"{}\" is no token id", path, key));
    }
    bias.bias = static_cast<float>(members->number(key, -100, 100).value_or(0));
    biases.push_back(bias);
  }
  return biases;
}

void read_format(const RequestFields& request, GenerationParameters& result) {
  const auto format = request.object("response_format");
  if (!format) return;
  const std::string path = format->path_of("type");
  const std::string type = format->text("type").value_or("");
  if (type == "text") return;
  if (type == "json_object") {
    result.format = GenerationParameters::Format::json_object;
    return;
  }
  if (type != "json_schema") {
    throw ApiError::bad_parameter(path,
                                  fmt::format("{} must be text, json_object or json_schema", path));
  }
  result.format = GenerationParameters::Format::json_schema;
  const auto wrapper = format->object("json_schema");
  // llama-server takes the schema without OpenAI's wrapper as well.
  const Json* schema = wrapper ? wrapper->find("schema") : format->find("schema");
  if (schema == nullptr) {
    throw ApiError::bad_parameter(format->path_of("json_schema.schema"),
                                  "response_format has no json_schema.schema");
  }
  result.schema = *schema;
}

}  // namespace

GenerationParameters parse_generation_parameters(const RequestFields& request,
                                                 const SamplingOptions& defaults,
                                                 const RequestLimits& limits) {
  GenerationParameters result;
  result.model = request.text("model").value_or("");
  result.sampling = read_sampling(request, defaults);
  result.seed_given = request.has("seed");
  result.max_tokens = request.integer("max_completion_tokens", 0);
  if (!result.max_tokens) result.max_tokens = request.integer("max_tokens", 0);
  result.stops = read_stops(request, limits);
  result.stop_token_ids = read_stop_tokens(request, limits);
  result.biases = read_biases(request, limits);
  result.n = request.integer("n", 1, limits.max_choices).value_or(1);
  result.ignore_eos = request.boolean("ignore_eos").value_or(false);
  result.stream = request.boolean("stream").value_or(false);
  if (const auto options = request.object("stream_options")) {
    result.include_usage = options->boolean("include_usage").value_or(false);
  }
  read_format(request, result);
  return result;
}

}  // namespace qround::server
