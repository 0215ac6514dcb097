#include "server/served_model.h"

#include <algorithm>
#include <memory>

namespace qround::server {

EnginePort port_of(Engine& engine) {
  return {
      .submit =
          [&engine](Request request) {
            auto running = std::make_shared<Generation>(engine.submit(std::move(request)));
            return EnginePort::Running{
                .next =
                    [running](std::chrono::milliseconds timeout) { return running->next(timeout); },
                .cancel = [running] { running->cancel(); }};
          },
      .metrics = [&engine] { return engine.metrics(); },
  };
}

bool ServedModel::answers_to(std::string_view name) const {
  if (name.empty() || name == id) return true;
  return std::any_of(aliases.begin(), aliases.end(),
                     [&](const std::string& alias) { return alias == "*" || alias == name; });
}

}  // namespace qround::server
