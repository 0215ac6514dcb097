#include "tokenizer/jinja_ast.h"

#include <algorithm>

namespace qround::jinja {

int depth_of(const ExpressionPtr& expression) {
  return expression == nullptr ? 0 : expression->depth;
}

int depth_of(const ExpressionList& list) {
  int depth = 0;
  for (const ExpressionPtr& item : list) depth = std::max(depth, item->depth);
  return depth;
}

int depth_of(const ArgumentList& arguments) {
  int depth = std::max({depth_of(arguments.positional), depth_of(arguments.unpacked_positional),
                        depth_of(arguments.unpacked_named)});
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, value->depth);
  return depth;
}

}  // namespace qround::jinja
