// The page at "/": a chat in the browser, held in the program itself.
#pragma once

#include <optional>
#include <string_view>

#include "server/http_message.h"

namespace qround::server {

// The page or one of its parts; nullopt: nothing of this name.
std::optional<HttpResponse> web_page(std::string_view path);

}  // namespace qround::server
