#include "report/report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/progress.h"
#include "report/html_text.h"
#include "report/page_style.h"
#include "report/svg_chart.h"

namespace qround::report {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

const Json::Array& array_of(const Json* value) {
  static const Json::Array empty;
  return value != nullptr && value->is_array() ? value->as_array() : empty;
}

std::string text_of(const Json* value) {
  if (value == nullptr || value->is_null()) return "–";
  return escaped(value->is_string() ? value->as_string() : value->dump());
}

std::string section(const std::string& title, const std::string& body) {
  if (body.empty()) return "";
  return fmt::format("<section><h2>{}</h2>\n{}</section>\n", title, body);
}

// Rows of cells that are HTML already.
std::string table(const std::vector<std::string>& heads,
                  const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return "";
  std::string html = "<div class=\"scroll\"><table>\n";
  if (!heads.empty()) {
    html += "<tr>";
    for (const std::string& head : heads) html += fmt::format("<th>{}</th>", head);
    html += "</tr>\n";
  }
  for (const std::vector<std::string>& row : rows) {
    html += "<tr>";
    for (const std::string& cell : row) html += fmt::format("<td>{}</td>", cell);
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

// Any value: objects and arrays of objects as tables inside, long arrays by their length.
std::string value_html(const Json& value) {
  if (value.is_number()) return number_html(&value, 6);
  if (value.is_array()) {
    std::string html;
    for (const Json& item : value.as_array()) html += (html.empty() ? "" : ", ") + value_html(item);
    return html.empty() ? "–" : html;
  }
  if (!value.is_object()) return text_of(&value);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, item] : value.as_object())
    rows.push_back({escaped(key), value_html(item)});
  return table({}, rows);
}

// Bytes in decimal units with their exact number.
std::string bytes_html(const Json* bytes) {
  if (bytes == nullptr || !bytes->is_int() || bytes->as_int() < 0) return "–";
  return fmt::format("<data value=\"{}\">{}</data>", bytes->as_int(),
                     bytes_text(static_cast<uint64_t>(bytes->as_int())));
}

std::string tile(const std::string& value, const std::string& caption) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", value, caption);
}

const Json* lane_named(const Json& eval, std::string_view name) {
  for (const Json& lane : array_of(eval.find("lanes")))
    if (const Json* stated = lane.find("name"); stated != nullptr && *stated == Json(name))
      return &lane;
  return nullptr;
}

const Json& eval_of(const Json& report) {
  static const Json none = Json::object();
  const Json* eval = report.find("eval");
  return eval != nullptr ? *eval : none;
}

std::string tiles(const Json& report) {
  std::string html;
  const Json* before = member(report, {"bytes", "before"});
  if (before != nullptr) {
    html += tile(bytes_html(member(report, {"bytes", "after"})),
                 "tensor data, from " + bytes_html(before));
    html += tile(number_html(member(report, {"linears", "quantized"})) + " of " +
                     number_html(member(report, {"linears", "total"})),
                 "linear maps are int4");
  }
  if (const Json* lane = lane_named(eval_of(report), "result")) {
    if (const Json* kld = member(*lane, {"kl_divergence", "mean", "value"}))
      html += tile(number_html(kld, 3), "KL divergence to the source, nats");
    if (const Json* ratio = member(*lane, {"perplexity_ratio", "value"}))
      html += tile(number_html(ratio, 6), "times the source's perplexity");
    if (const Json* top = member(*lane, {"top_agreement", "value"}))
      html += tile(number_html(top, 4), "of rows: same top token");
  }
  if (const Json* errors = member(report, {"verify", "errors"})) {
    html +=
        tile(number_html(errors), "errors, " + number_html(member(report, {"verify", "warnings"})) +
                                      " warnings by verify");
  }
  return "<div class=\"tiles\">\n" + html + "</div>\n";
}

std::string evaluation(const Json& eval) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& lane : array_of(eval.find("lanes"))) {
    const Json* kld = lane.find("kl_divergence");
    const auto of = [&](const char* key) {
      return number_html(kld == nullptr ? nullptr : kld->find(key), 3);
    };
    rows.push_back({text_of(lane.find("name")), estimate_html(lane.find("perplexity"), 6),
                    estimate_html(kld == nullptr ? nullptr : kld->find("mean"), 3), of("median"),
                    of("p99"), of("p99_9"), of("max"), estimate_html(lane.find("top_agreement"))});
  }
  if (rows.empty()) return "";
  std::string html = table(
      {"", "perplexity", "KL divergence", "median", "99 %", "99.9 %", "largest", "same top token"},
      rows);
  html += fmt::format("<p class=\"soft\">{}, {} windows. {}. In brackets: {}.</p>\n",
                      text_of(member(eval, {"data", "name"})), number_html(eval.find("windows")),
                      text_of(member(eval, {"protocol", "text"})), text_of(eval.find("interval")));
  if (const Json* difference = eval.find("baseline_minus_result"))
    html += fmt::format("<p>Divergence of the baseline minus the result's: {}</p>\n",
                        estimate_html(difference, 3));
  return html;
}

std::string histogram(const Json& eval) {
  std::vector<std::string> labels;
  std::vector<Series> series;
  for (const char* name : {"result", "baseline"}) {
    const Json* lane = lane_named(eval, name);
    const Json* bins = lane == nullptr ? nullptr : member(*lane, {"kl_divergence", "histogram"});
    if (bins == nullptr) continue;
    Series one{name, {}};
    labels.clear();
    const double first = number_or(bins->find("first_power_of_ten"), 0),
                 per_power = number_or(bins->find("bins_per_power"), 1);
    for (const Json& rows : array_of(bins->find("rows"))) {
      one.values.push_back(number_or(&rows, 0));
      labels.push_back(
          fmt::format("1e{:.3g}", first + static_cast<double>(labels.size()) / per_power));
    }
    series.push_back(std::move(one));
  }
  if (series.empty()) return "";
  return bar_chart({.title = "Rows by KL divergence",
                    .x_axis = "KL divergence of a row, lower end of the bin",
                    .y_axis = "rows"},
                   labels, series);
}

std::string acceptance(const Json& eval) {
  std::vector<Series> series;
  std::vector<std::string> labels;
  std::vector<std::vector<std::string>> rows;
  for (const Json& lane : array_of(eval.find("lanes"))) {
    const Json::Array& drafts = array_of(lane.find("mtp_teacher_forced"));
    if (drafts.empty() || series.size() == 3) continue;
    Series one{text_of(lane.find("name")), {}};
    labels.clear();
    std::vector<std::string> row = {one.name};
    for (const Json& draft : drafts) {
      one.values.push_back(number_or(member(draft, {"agreement", "value"}), kNone));
      labels.push_back("draft " + text_of(draft.find("depth")));
      row.push_back(estimate_html(draft.find("agreement")));
    }
    rows.push_back(std::move(row));
    series.push_back(std::move(one));
  }
  std::string html;
  if (!series.empty()) {
    html =
        bar_chart({.title = "Teacher-forced MTP drafts: share equal to the network's own top token",
                   .x_axis = "",
                   .y_axis = "share"},
                  labels, series);
    html += table({"", "draft 1", "draft 2", "draft 3"}, rows);
  }
  std::vector<std::vector<std::string>> steps;
  for (const Json& lane : array_of(member(eval, {"mtp_drafting", "lanes"}))) {
    for (const Json& depth : array_of(lane.find("depths"))) {
      std::string accepted;
      for (const Json& count : array_of(depth.find("accepted_by_position")))
        accepted += (accepted.empty() ? "" : ", ") + number_html(&count);
      steps.push_back({text_of(lane.find("name")), number_html(depth.find("depth")),
                       number_html(depth.find("tokens_per_step"), 4),
                       number_html(depth.find("steps")), accepted});
    }
  }
  if (!steps.empty()) {
    html += "<p>Real drafting along the network's own greedy text:</p>\n" +
            table({"", "drafts a step", "tokens a step", "steps", "accepted, by position"}, steps);
  }
  return html;
}

std::string layers(const Json& eval) {
  std::vector<Series> errors, routes;
  for (const char* name : {"result", "baseline", "noise"}) {
    const Json* lane = lane_named(eval, name);
    if (lane == nullptr || lane->find("kl_divergence") == nullptr) continue;
    Series error{name, {}}, route{name, {}};
    bool has_routes = false;
    for (const Json& layer : array_of(lane->find("layers"))) {
      error.values.push_back(number_or(layer.find("relative_error"), kNone));
      route.values.push_back(number_or(layer.find("rerouted"), kNone));
      has_routes |= layer.find("rerouted") != nullptr;
    }
    errors.push_back(std::move(error));
    if (has_routes) routes.push_back(std::move(route));
  }
  if (errors.empty()) return "";
  std::string html = line_chart({.title = "Relative error of each layer's output",
                                 .x_axis = "layer",
                                 .y_axis = "abs(h − h₀) / abs(h₀)"},
                                errors, true);
  if (!routes.empty()) {
    html += line_chart({.title = "Share of rows that go to other experts than in the source",
                        .x_axis = "layer",
                        .y_axis = "share of rows"},
                       routes, false);
  }
  return html;
}

std::string tuning(const Json& report) {
  Series before{"before", {}}, after{"after", {}};
  std::vector<std::vector<std::string>> rows;
  for (const Json& block : array_of(member(report, {"tuning", "blocks"}))) {
    before.values.push_back(number_or(block.find("loss_before"), kNone));
    after.values.push_back(number_or(block.find("loss_after"), kNone));
    rows.push_back({number_html(block.find("block")), number_html(block.find("loss_before")),
                    number_html(block.find("loss_after")),
                    number_html(block.find("kept_iteration")), number_html(block.find("seconds"))});
  }
  if (rows.empty()) return "";
  return line_chart({.title = "Mean squared error of a block's output on held-out sequences",
                     .x_axis = "block",
                     .y_axis = "loss"},
                    {before, after}, true) +
         table({"block", "loss before", "after", "kept iteration", "seconds"}, rows);
}

std::string errors(const Json& report) {
  std::vector<Range> ranges;
  for (const Json& kind : array_of(member(report, {"relative_error", "by_kind"}))) {
    ranges.push_back({text_of(kind.find("kind")), number_or(kind.find("min"), 0),
                      number_or(kind.find("mean"), 0), number_or(kind.find("max"), 0)});
  }
  if (ranges.empty()) return "";
  std::string html =
      range_chart({.title = "Relative error of weights by class of tensor: least, mean, largest",
                   .x_axis = "abs(W − W′) / abs(W)",
                   .y_axis = ""},
                  ranges);
  // Classes as columns, blocks as rows.
  std::vector<std::string> heads = {"block"};
  std::vector<std::vector<std::string>> rows;
  for (const Json& entry : array_of(member(report, {"relative_error", "by_kind_and_block"}))) {
    const std::string kind = text_of(entry.find("kind"));
    auto head = std::find(heads.begin(), heads.end(), kind);
    if (head == heads.end()) head = heads.insert(heads.end(), kind);
    const auto column = static_cast<size_t>(head - heads.begin());
    const auto block = static_cast<size_t>(number_or(entry.find("block"), 0));
    if (rows.size() <= block) rows.resize(block + 1);
    if (rows[block].size() <= column) rows[block].resize(column + 1, "");
    rows[block][0] = std::to_string(block);
    rows[block][column] = number_html(entry.find("mean"), 3);
  }
  for (std::vector<std::string>& row : rows) row.resize(heads.size(), "");
  return html + table(heads, rows);
}

std::string coverage(const Json& report) {
  std::vector<std::vector<int64_t>> counts;
  const auto add = [&](const Json* numbers) {
    std::vector<int64_t> row;
    for (const Json& number : array_of(numbers))
      row.push_back(static_cast<int64_t>(number_or(&number, 0)));
    counts.push_back(std::move(row));
  };
  std::string text = "calibration text";
  for (const Json& block : array_of(member(report, {"tuning", "blocks"})))
    add(block.find("expert_tokens"));
  if (counts.empty()) {
    text = "evaluation text, source network";
    const Json* lane = lane_named(eval_of(report), "source");
    if (lane != nullptr)
      for (const Json& layer : array_of(lane->find("layers"))) add(layer.find("expert_rows"));
  }
  const auto filled = [](const std::vector<int64_t>& row) { return !row.empty(); };
  if (std::none_of(counts.begin(), counts.end(), filled)) return "";
  return heat_map({.title = "Tokens by expert and layer, " + text +
                            "; a layer's darkest cell is its busiest expert, a blank one got none",
                   .x_axis = "expert",
                   .y_axis = "layer"},
                  counts);
}

std::string ablations(const Json& eval) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& entry : array_of(eval.find("ablations"))) {
    rows.push_back({text_of(entry.find("role")), bytes_html(entry.find("added_bytes")),
                    estimate_html(entry.find("gain"), 3),
                    number_html(entry.find("gain_per_megabyte"), 3)});
  }
  return table(
      {"class put back to the source's weights", "grows by", "KL divergence falls by", "per MB"},
      rows);
}

// What `qround verify` said: verdicts by consumer, then the rules that found something.
std::string verdicts(const Json* verify) {
  if (verify == nullptr) return "";
  std::string html =
      fmt::format("<p>qround verify: {} rules, {} errors, {} warnings.</p>\n",
                  number_html(verify->find("checked")), number_html(verify->find("errors")),
                  number_html(verify->find("warnings")));
  std::vector<std::vector<std::string>> consumers, rules;
  for (const Json& one : array_of(verify->find("consumers"))) {
    consumers.push_back({text_of(one.find("consumer")), number_html(one.find("tp")),
                         text_of(one.find("verdict")), text_of(one.find("text"))});
  }
  for (const Json& rule : array_of(verify->find("rules"))) {
    if (number_or(rule.find("count"), 0) == 0) continue;
    const Json::Array& found = array_of(rule.find("findings"));
    rules.push_back({text_of(rule.find("rule")), text_of(rule.find("severity")),
                     number_html(rule.find("count")),
                     found.empty() ? "" : text_of(found[0].find("message"))});
  }
  return html + table({"consumer", "tensor parallel", "verdict", ""}, consumers) +
         table({"rule", "severity", "findings", "the first one"}, rules);
}

// Facts that are only listed.
std::string listed(const Json& report, std::initializer_list<const char*> keys) {
  std::vector<std::vector<std::string>> rows;
  for (const char* key : keys) {
    const Json* value = report.find(key);
    if (value == nullptr || value->is_null()) continue;
    rows.push_back({escaped(key), std::string_view(key).ends_with("memory_bytes")
                                      ? bytes_html(value)
                                      : value_html(*value)});
  }
  return table({}, rows);
}

std::string data_hashes(const Json& report) {
  std::vector<std::vector<std::string>> rows;
  if (const Json* hash = member(report, {"tuning", "data_sha256"}))
    rows.push_back({"calibration tokens", text_of(hash)});
  if (const Json* data = eval_of(report).find("data")) {
    rows.push_back(
        {"evaluation text " + text_of(data->find("name")), text_of(data->find("sha256"))});
    rows.push_back({"its tokens", text_of(data->find("tokens_sha256"))});
  }
  return table({"SHA-256 of", ""}, rows);
}

}  // namespace

std::string report_page(const Json& report) {
  const Json& eval = eval_of(report);
  const Json* name = member(report, {"source", "name"});
  const std::string title = text_of(name != nullptr ? name : eval.find("directory"));
  std::string body = fmt::format("<h1>{}</h1>\n<p class=\"soft\">qround {}</p>\n", title,
                                 text_of(member(report, {"tool", "version"})));
  body += tiles(report);
  body += section("Evaluation", evaluation(eval) + histogram(eval));
  body += section("MTP acceptance", acceptance(eval));
  body += section("Layers", layers(eval));
  body += section("Tuning", tuning(report));
  body += section("Error of weights", errors(report));
  body += section("Expert coverage", coverage(report));
  body += section("What each class costs", ablations(eval));
  body += section("Verification", verdicts(report.find("verify")));
  body +=
      section("Time and memory",
              listed(report, {"seconds", "threads", "peak_memory_bytes", "peak_gpu_memory_bytes"}) +
                  listed(eval, {"seconds", "threads", "peak_memory_bytes"}));
  body += section("Recipe", listed(report, {"recipe"}));
  body +=
      section("Provenance", listed(report, {"source", "tensors", "bytes"}) + data_hashes(report));
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{} – qround report</title>\n<style>{}</style></head>\n<body><main>\n{}</main></body>"
      "</html>\n",
      title, kPageStyle, body);
}

}  // namespace qround::report
