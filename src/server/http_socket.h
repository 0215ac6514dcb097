// TCP sockets whose every wait has a deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace qround::server {

using Deadline = std::chrono::steady_clock::time_point;
inline Deadline after(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// Once set it stays set and wakes everyone who waits for it.
class WakeSignal {
 public:
  WakeSignal();  // throws Error
  void set();
  int descriptor() const { return event_.get(); }

 private:
  Descriptor event_;
};

class HttpSocket {
 public:
  enum class Result { done, timeout, closed, woken };

  HttpSocket(Descriptor descriptor, std::string peer);

  // Appends what is there to `buffer`, waiting for it until `deadline`. `wake` ends the wait; it
  // may be nullptr.
  Result read(std::string& buffer, Deadline deadline, const WakeSignal* wake);
  // All of `bytes`.
  Result write(std::string_view bytes, Deadline deadline);
  // The peer closed its end, or the connection is broken.
  bool gone() const;
  // Ends our side and takes what the peer still sends for a moment, so that it can read our last
  // answer.
  void close_gently();
  // Wakes a thread that waits in read or write; for another thread.
  void break_off();

  const std::string& peer() const { return peer_; }  // the address without the port

 private:
  Result wait(short events, Deadline deadline, const WakeSignal* wake) const;

  Descriptor descriptor_;
  std::string peer_;
};

// Accepts connections on an address of this machine.
class HttpListener {
 public:
  // Port 0 picks a free one. Throws Error (input: no such address; resource: in use).
  HttpListener(const std::string& host, uint16_t port);

  uint16_t port() const { return port_; }
  bool is_loopback() const { return loopback_; }
  int descriptor() const { return descriptor_.get(); }
  // The next connection, or nullopt-like invalid descriptor (get() < 0) when `wake` is set or
  // nothing came until the deadline.
  Descriptor accept(const WakeSignal& wake, std::string& peer) const;

 private:
  Descriptor descriptor_;
  uint16_t port_ = 0;
  bool loopback_ = false;
};

}  // namespace qround::server
