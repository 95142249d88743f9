// SPDX-License-Identifier: BSD-3-Clause
//
// acceptor.cpp
#include "net/descriptor_wait.hpp"
#include "net/socket_api.hpp"
#include "net/tell.hpp"
#include <squall/net/acceptor.hpp>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <sys/resource.h>
#include <system_error>

namespace squall {

namespace {

constexpr std::chrono::milliseconds shortest_pause{5};
constexpr std::chrono::milliseconds longest_pause{100};

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
  case EOPNOTSUPP: // also an error of one connection
  case EFAULT:
    return AcceptError::broken;
  default: // errors of the one connection, as accept(2) lists them
    return AcceptError::skip;
  }
}

std::string advice(int error) {
  rlimit limit{};
  switch (error) {
  case EMFILE:
    return "the process has no free descriptor" +
           (getrlimit(RLIMIT_NOFILE, &limit) == 0 ? " of its " + std::to_string(limit.rlim_cur) : "") +
           ": raise the limit (`ulimit -n`, LimitNOFILE= of systemd)";
  case ENFILE:
    return "the system has no free descriptor: raise its limit (`sysctl fs.file-max`)";
  case ENOBUFS:
  case ENOMEM:
    return "the system has no memory for another socket: free some, or raise the limit of the process's "
           "memory (cgroups(7))";
  default:
    return "the system refuses every connection";
  }
}

} // namespace

Acceptor::Acceptor(EventLoop& loop, ListeningSocket socket, OnAccept on_accept, int accepts_per_turn)
    : loop_{loop}, socket_{std::move(socket)}, on_accept_{std::move(on_accept)},
      accepts_per_turn_{accepts_per_turn}, resume_timer_{[this] { resume(); }},
      descriptor_wait_{std::make_unique<DescriptorWait>([this] { resume(); })} {
  if (accepts_per_turn < 1)
    throw std::invalid_argument{"an acceptor accepts at least one connection a turn"};
  const int fd = socket_.fd();
  if (fd < 0)
    throw std::system_error{EBADF, std::generic_category(), "cannot accept from a closed socket"};
  loop_.watch(fd, *this);
}

Acceptor::~Acceptor() { stop(); }

void Acceptor::stop() noexcept {
  if (std::exchange(stopped_, true))
    return;
  resume_timer_.cancel();
  descriptor_wait_->cancel();
  LoopTask::unlink();
  loop_.unwatch(socket_.fd(), *this);
}

void Acceptor::set_paused(bool value) noexcept {
  const bool was_held = std::exchange(held_, value);
  if (was_held && !value && !stopped_)
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
    if (before_accept_ && !stopped_)
      before_accept_();
    if (stopped_ || socket_.fd() < 0)
      return stop();
    if (held_)
      return;
    socket_api::Accepted accepted = socket_api::accept(socket_.fd());
    if (accepted.error == 0) {
      pause_time_ = Duration::zero();
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
    tell(LogLevel::error, "connection_failed", "a connection could not be served", [&] {
      return LogFields{{"error", error.what()}};
    });
  }
}

void Acceptor::pause(int error) {
  // A socket that still listens may get over any error: a filter of the system's may have made it up.
  if (classify(error) == AcceptError::broken && !socket_api::is_listening(socket_.fd())) {
    tell(LogLevel::error, "listener_broken", "a listening socket fails and is given up", [&] {
      return LogFields{{"address", to_string(socket_.local_endpoint())},
                       {"error", std::generic_category().message(error)}};
    });
    stop();
    return;
  }
  tell_pause(error);
  pause_time_ = std::clamp<Duration>(2 * pause_time_, shortest_pause, longest_pause);
  resume_timer_.start_after(loop_, pause_time_);
  descriptor_wait_->start(loop_);
}

void Acceptor::tell_pause(int error) {
  if (on_pause_ && !on_pause_())
    return;
  const TimePoint now = loop_.now();
  if (told_ && now - *told_ < std::chrono::seconds{1})
    return;
  told_ = now;
  tell(LogLevel::error, "accept_paused", advice(error), [&] {
    return LogFields{{"address", to_string(socket_.local_endpoint())},
                     {"error", std::generic_category().message(error)}};
  });
}

void Acceptor::resume() {
  resume_timer_.cancel();
  descriptor_wait_->cancel();
  loop_.defer(*this);
}

std::function<void()> add_accept_handler(EventLoop& loop, ListeningSocket socket,
                                         Acceptor::OnAccept on_accept, int accepts_per_turn) {
  // The last copy may go inside on_accept, in the midst of a batch: the acceptor goes when the loop is out of it.
  const auto drop = [&loop](Acceptor* acceptor) {
    const ReserveUse use;
    acceptor->stop();
    try {
      const auto gone = std::make_shared<std::unique_ptr<Acceptor>>();
      loop.post([gone] {});
      gone->reset(acceptor);
    } catch (const std::bad_alloc&) { // it may still be in its batch: so it stays for ever, stopped
    }
  };
  const std::shared_ptr<Acceptor> acceptor{
      new Acceptor{loop, std::move(socket), std::move(on_accept), accepts_per_turn}, drop};
  return [acceptor] { acceptor->stop(); };
}

} // namespace squall
