// SPDX-License-Identifier: BSD-3-Clause
//
// acceptor.cpp
#include "net/socket_api.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/log.hpp>

#include <cerrno>
#include <system_error>

namespace squall {

namespace {

constexpr std::chrono::milliseconds pause_time{100};

/// What to do about an errno of accept4.
enum class AcceptError : unsigned char { drained, skip, pause, broken };

AcceptError classify(int error) noexcept {
  switch (error) {
  case EAGAIN:
    return AcceptError::drained;
  case EMFILE:
  case ENFILE:
  case ENOBUFS:
  case ENOMEM:
    return AcceptError::pause;
  case EBADF:
  case EINVAL:
  case ENOTSOCK:
  case EOPNOTSUPP:
  case EFAULT:
    return AcceptError::broken;
  default: // errors of the one connection, as accept(2) lists them
    return AcceptError::skip;
  }
}

const char* advice(int error) noexcept {
  switch (error) {
  case EMFILE:
    return "the process has no free descriptor: raise `ulimit -n`";
  case ENFILE:
    return "the system has no free descriptor: raise fs.file-max";
  case ENOBUFS:
  case ENOMEM:
    return "the system has no memory for another socket";
  default:
    return "the system refuses every connection";
  }
}

} // namespace

Acceptor::Acceptor(EventLoop& loop, ListeningSocket socket, OnAccept on_accept)
    : loop_{loop}, socket_{std::move(socket)}, on_accept_{std::move(on_accept)}, resume_timer_{[this] {
        loop_.defer(*this);
      }} {
  const int fd = socket_.fd();
  if (fd < 0)
    throw std::system_error{EBADF, std::generic_category(), "cannot accept from a closed socket"};
  loop_.watch(fd, *this);
}

void Acceptor::stop() noexcept {
  if (std::exchange(stopped_, true))
    return;
  resume_timer_.cancel();
  LoopTask::unlink();
  loop_.unwatch(socket_.fd(), *this);
}

void Acceptor::set_paused(bool value) noexcept {
  held_ = value;
  if (!value && !stopped_)
    loop_.defer(*this); // edges that came meanwhile are gone
}

int Acceptor::accept_rest(int most) {
  int count = 0;
  while (count < most && !stopped_ && socket_.fd() >= 0) {
    socket_api::Accepted accepted = socket_api::accept(socket_.fd());
    if (accepted.error != 0 && classify(accepted.error) != AcceptError::skip)
      break;
    ++count; // also what failed, so that it ends
    if (accepted.error == 0)
      hand_over(std::move(accepted));
  }
  return count;
}

void Acceptor::on_ready(Readiness) { run_task(); }

void Acceptor::run_task() {
  if (held_ || resume_timer_.armed())
    return;
  if (std::exchange(turn_, loop_.turn()) == loop_.turn())
    loop_.defer(*this); // this turn had its batch
  else
    accept_batch();
}

void Acceptor::accept_batch() {
  int failures = 0;
  for (int i = 0; i < accepts_per_turn_; ++i) {
    if (stopped_ || socket_.fd() < 0)
      return stop();
    if (held_)
      return;
    socket_api::Accepted accepted = socket_api::accept(socket_.fd());
    if (accepted.error == 0) {
      hand_over(std::move(accepted));
      continue;
    }
    const AcceptError kind = classify(accepted.error);
    // A batch of nothing but failures, whatever they are, would go on for ever (a seccomp filter's EPERM, for
    // example).
    if (kind == AcceptError::skip && ++failures < accepts_per_turn_)
      continue;
    if (kind != AcceptError::drained)
      pause(accepted.error);
    return;
  }
  loop_.defer(*this); // there may be more: after the others
}

void Acceptor::hand_over(socket_api::Accepted accepted) {
  try {
    on_accept_(std::move(accepted.socket), std::move(accepted.peer));
  } catch (const std::exception& error) { // it costs this connection, and none of those that wait
    log_event(LogLevel::error, "connection_failed", "a connection could not be served",
              {{"error", error.what()}});
  }
}

void Acceptor::pause(int error) {
  if (classify(error) == AcceptError::broken) {
    log_event(LogLevel::error, "listener_broken", "a listening socket fails and is given up",
              {{"address", to_string(socket_.local_endpoint())},
               {"error", std::generic_category().message(error)}});
    stop();
    return;
  }
  // One line for as long as it lasts, at most one a second: each pause ends for a try.
  const TimePoint now = loop_.now();
  if (now - std::exchange(paused_, now) > std::chrono::seconds{1})
    log_event(LogLevel::error, "accept_paused", advice(error),
              {{"address", to_string(socket_.local_endpoint())},
               {"error", std::generic_category().message(error)}});
  resume_timer_.start_after(loop_, pause_time);
}

} // namespace squall
