#include "tokenizer/jinja_markup.h"

#include "tokenizer/jinja_repr.h"

namespace qround::jinja {

std::string escaped(Budget& budget, const Value& value) {
  if (value.is_string() && value.as_string().markup) return value.bytes();
  const std::string text = to_str(budget, value);
  TextBuilder out(budget);
  for (char c : text) {
    switch (c) {
      case '&':
        out.append("&amp;");
        break;
      case '<':
        out.append("&lt;");
        break;
      case '>':
        out.append("&gt;");
        break;
      case '\'':
        out.append("&#39;");
        break;
      case '"':
        out.append("&#34;");
        break;
      default:
        out.append(c);
    }
  }
  return out.take();
}

}  // namespace qround::jinja
