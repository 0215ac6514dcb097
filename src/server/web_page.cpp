#include "server/web_page.h"

#include <array>

#include "web_page_files.h"

namespace qround::server {
namespace {

struct PageFile {
  std::string_view path, content_type, text;
};

// The page may load nothing but its own parts and talk to nobody but this server.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr std::array kFiles = {
    PageFile{"/", "text/html; charset=utf-8", kPageHtml},
    PageFile{"/page.css", "text/css; charset=utf-8", kPageCss},
    PageFile{"/page.js", "text/javascript; charset=utf-8", kPageJs},
};

}  // namespace

std::optional<HttpResponse> web_page(std::string_view path) {
  for (const PageFile& file : kFiles) {
    if (path != file.path) continue;
    return HttpResponse{.status = 200,
                        .content_type = std::string(file.content_type),
                        .body = std::string(file.text),
                        .headers = {{"Content-Security-Policy", kPolicy},
                                    {"Referrer-Policy", "no-referrer"},
                                    {"Cache-Control", "no-cache"}}};
  }
  if (path == "/favicon.ico") return HttpResponse{.status = 204};
  return std::nullopt;
}

}  // namespace qround::server
