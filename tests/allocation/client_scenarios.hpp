// SPDX-License-Identifier: BSD-3-Clause
//
// client_scenarios.hpp: connects, for tours of failing allocations.
#pragma once

#include "tests/allocation/scenarios.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/tcp_client.hpp>

#include <atomic>
#include <thread>

namespace squall::allocation_tests {

/// Finds the same addresses for every name.
class FixedResolver final : public Resolver {
public:
  explicit FixedResolver(Addresses addresses) : addresses_{std::move(addresses)} {}
  void lookup(Resolve, LookupAnswer answer) override { answer(addresses_); }

private:
  const Addresses addresses_;
};

/// A loop in a thread of its own.
class LoopThread {
public:
  /// @param name  "squall-io": its allocations fail
  explicit LoopThread(const char* name) {
    thread_ = std::thread{[this, name] {
      pthread_setname_np(pthread_self(), name);
      while (!ending_)
        try {
          loop.run();
        } catch (const std::bad_alloc&) { // as the I/O threads go on
        }
    }};
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;
  ~LoopThread() {
    ending_ = true;
    loop.stop();
    thread_.join();
  }

  EventLoop loop;

private:
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

/// What a connect goes to.
enum class Target : unsigned char {
  number,    ///< a literal address
  addresses, ///< a name that has two: one that refuses, one that takes
  tls        ///< a name whose server makes a handshake
};

/// A connect, which is answered once: by its callback, or by an exception when nothing has begun.
class Connecting final : public Scenario {
public:
  /// @param context  of the client, for Target::tls
  Connecting(Target target, const TLSContext& client, const TLSContext& server)
      : name_{target == Target::number ? "127.0.0.1" : "localhost"} {
    options_.tls = client;
    server_.loop.post([this, server] {
      acceptor_.emplace(server_.loop, socket_, [this, server](Socket connection, const Endpoint&) {
        accepted_ = server ? IOStream{server_.loop, std::move(connection), server} : IOStream{};
      });
    });
    std::shared_ptr<Resolver> resolver = default_resolver();
    if (target == Target::addresses)
      resolver = std::make_shared<FixedResolver>(Addresses{refusing(), taking()});
    else if (target == Target::tls)
      resolver = std::make_shared<FixedResolver>(Addresses{taking()});
    client_.emplace(loop_.loop, resolver);
    if (!connects())
      complain("a connect does not work at all");
    descriptors_ = actor_tests::descriptor_count();
  }
  Connecting(const Connecting&) = delete;
  Connecting& operator=(const Connecting&) = delete;
  ~Connecting() override {
    std::atomic<bool> done{false};
    server_.loop.post([&] {
      acceptor_.reset();
      accepted_ = IOStream{};
      done = true;
    });
    soon([&] { return done.load(); });
  }

  void run() override {
    answers_ = 0;
    late_ = false;
    begin(answers_, 2s);
    if (!soon([this] { return answers_ > 0; }))
      complain("the connect is never answered");
    if (late_)
      complain("nothing but the deadline answers the connect");
  }

  void check() override {
    if (!connects())
      complain("the next connect does not succeed");
    if (answers_ > 1)
      complain("the connect is answered " + std::to_string(answers_.load()) + " times");
    if (!soon([this] { return actor_tests::descriptor_count() <= descriptors_; }))
      complain("descriptors are left");
  }

private:
  /// `answers` counts.
  void begin(std::atomic<int>& answers, Duration timeout) {
    loop_.loop.post([this, &answers, timeout] {
      try {
        options_.timeout = timeout;
        client_->connect(name_, taking().port, options_, [this, &answers](const ConnectResult& result) {
          succeeded_ = result.has_value();
          late_ = !result && result.error().code == StreamErrc::timed_out;
          ++answers;
        });
      } catch (const std::bad_alloc&) {
        ++answers;
      }
    });
  }
  bool connects() {
    begin(later_answers_, patience);
    return soon([this] { return later_answers_ > 0; }) && later_answers_.exchange(0) == 1 && succeeded_;
  }

  [[nodiscard]] Endpoint taking() const { return socket_.local_endpoint(); }
  /// On another address of the loopback nobody listens.
  [[nodiscard]] Endpoint refusing() const { return {"127.0.0.2", taking().port, AddressFamily::ipv4}; }

  std::string name_;
  ConnectOptions options_;
  ListeningSocket socket_ = bind_sockets(0, "127.0.0.1").front();
  std::atomic<int> answers_{0};
  std::atomic<int> later_answers_{0};
  std::atomic<bool> succeeded_{false};
  std::atomic<bool> late_{false};
  std::size_t descriptors_ = 0;
  std::optional<TCPClient> client_;
  std::optional<Acceptor> acceptor_;
  IOStream accepted_;
  LoopThread server_{"server"};
  LoopThread loop_{"squall-io"};
};

} // namespace squall::allocation_tests
