#include "server/http_socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "base/error.h"

namespace qround::server {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr int kBacklog = 512;
constexpr size_t kMaxDiscardedBytes = 4 << 20;
constexpr std::chrono::milliseconds kLinger(1000);
constexpr std::chrono::milliseconds kNoDescriptorPause(50);

int milliseconds_until(Deadline deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
}

std::string peer_text(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
  }
  return text.data();
}

bool is_loopback_address(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr) != 0;
}

std::shared_ptr<addrinfo> resolve(const std::string& host, uint16_t port) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (failure != 0) {
    throw Error(fmt::format("cannot listen on {}: {}", host, gai_strerror(failure)));
  }
  return {found, freeaddrinfo};
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

WakeSignal::WakeSignal() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_.get() < 0) throw Error("cannot create an eventfd", ErrorKind::resource);
}

void WakeSignal::set() {
  const uint64_t one = 1;
  // A full counter is as good as a set one.
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
}

HttpSocket::HttpSocket(Descriptor descriptor, std::string peer)
    : descriptor_(std::move(descriptor)), peer_(std::move(peer)) {
  const int on = 1;
  setsockopt(descriptor_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

HttpSocket::Result HttpSocket::wait(short events, Deadline deadline, const WakeSignal* wake) const {
  std::array<pollfd, 2> set = {pollfd{descriptor_.get(), events, 0},
                               pollfd{wake == nullptr ? -1 : wake->descriptor(), POLLIN, 0}};
  while (true) {
    const int ready = poll(set.data(), set.size(), milliseconds_until(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Result::timeout;
    // Data that is already there comes before the signal to stop waiting.
    return set[0].revents != 0 ? Result::done : Result::woken;
  }
}

HttpSocket::Result HttpSocket::read(std::string& buffer, Deadline deadline,
                                    const WakeSignal* wake) {
  while (true) {
    if (const Result ready = wait(POLLIN, deadline, wake); ready != Result::done) return ready;
    const size_t had = buffer.size();
    buffer.resize(had + kReadBytes);
    const ssize_t got = recv(descriptor_.get(), buffer.data() + had, kReadBytes, 0);
    buffer.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got > 0) return Result::done;
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) return Result::closed;
  }
}

HttpSocket::Result HttpSocket::write(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(descriptor_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return Result::closed;
    if (const Result ready = wait(POLLOUT, deadline, nullptr); ready != Result::done) return ready;
  }
  return Result::done;
}

bool HttpSocket::gone() const {
  pollfd set{descriptor_.get(), POLLRDHUP, 0};
  return poll(&set, 1, 0) > 0 && (set.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void HttpSocket::close_gently() {
  shutdown(descriptor_.get(), SHUT_WR);
  const Deadline deadline = after(kLinger);
  std::string discarded;
  for (size_t total = 0; total < kMaxDiscardedBytes; total += discarded.size()) {
    discarded.clear();
    if (read(discarded, deadline, nullptr) != Result::done) return;
  }
}

void HttpSocket::break_off() { shutdown(descriptor_.get(), SHUT_RDWR); }

HttpListener::HttpListener(const std::string& host, uint16_t port) {
  const std::shared_ptr<addrinfo> addresses = resolve(host, port);
  int failure = 0;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    Descriptor candidate(
        socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
    const int on = 1;
    setsockopt(candidate.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(candidate.get(), a->ai_addr, a->ai_addrlen) == 0 &&
        listen(candidate.get(), kBacklog) == 0) {
      descriptor_ = std::move(candidate);
      loopback_ = is_loopback_address(a->ai_addr);
      break;
    }
    failure = errno;
  }
  if (descriptor_.get() < 0) {
    throw Error(fmt::format("cannot listen on {} port {}: {}", host, port, std::strerror(failure)),
                failure == EADDRNOTAVAIL ? ErrorKind::input : ErrorKind::resource);
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(descriptor_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
  port_ = ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(bound).sin_port
                                           : reinterpret_cast<sockaddr_in6&>(bound).sin6_port);
}

Descriptor HttpListener::accept(const WakeSignal& wake, std::string& peer) const {
  std::array<pollfd, 2> set = {pollfd{descriptor_.get(), POLLIN, 0},
                               pollfd{wake.descriptor(), POLLIN, 0}};
  if (poll(set.data(), set.size(), -1) <= 0 || set[1].revents != 0) return {};
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  Descriptor accepted(accept4(descriptor_.get(), reinterpret_cast<sockaddr*>(&address), &size,
                              SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (accepted.get() >= 0) {
    peer = peer_text(address);
  } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
    // The connection stays in the queue; without a pause this would be a busy loop.
    std::this_thread::sleep_for(kNoDescriptorPause);
  }
  return accepted;
}

}  // namespace qround::server
