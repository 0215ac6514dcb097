#include "report/html_text.h"

#include <fmt/format.h>

namespace qround::report {

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

std::string number_html(const Json* value, int digits) {
  if (value == nullptr || !value->is_number()) return "–";
  const std::string exact = value->dump();
  if (value->is_int()) return fmt::format("<data value=\"{}\">{}</data>", exact, exact);
  return fmt::format("<data value=\"{}\">{:.{}g}</data>", exact, value->as_double(), digits);
}

std::string number_html(double value, int digits) {
  const Json json(value);
  return number_html(&json, digits);
}

std::string estimate_html(const Json* estimate, int digits) {
  if (estimate == nullptr || !estimate->is_object()) return "–";
  return fmt::format("{} <small>[{}, {}]</small>", number_html(estimate->find("value"), digits),
                     number_html(estimate->find("low"), digits),
                     number_html(estimate->find("high"), digits));
}

const Json* member(const Json& object, std::initializer_list<std::string_view> path) {
  const Json* at = &object;
  for (const std::string_view key : path) {
    if (at == nullptr) return nullptr;
    at = at->find(key);
  }
  return at;
}

double number_or(const Json* value, double otherwise) {
  return value != nullptr && value->is_number() ? value->as_double() : otherwise;
}

}  // namespace qround::report
