// SPDX-License-Identifier: BSD-3-Clause
//
// blocking_calls_test.cpp: files and lookups that the system does not end hold up no connection, and no end.
//
// stat(2) and getaddrinfo(3) are this file's own, which stand before the system's for the whole program: they wait at a gate
// for the names of its tests, and pass on everything else.
#include "actors/listener.hpp"
#include "tests/actors/tls_client.hpp"

#include <condition_variable>
#include <csignal>
#include <dlfcn.h>
#include <netdb.h>
#include <sys/stat.h>
#include <thread>

namespace squall::actor_tests {

namespace {

/// Where the calls wait.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = true;
  int waiting = 0;
  int passed = 0;

  void pass() {
    std::unique_lock lock{mutex};
    ++waiting;
    changed.notify_all();
    changed.wait(lock, [this] { return open; });
    --waiting;
    ++passed;
    changed.notify_all();
  }
  void set(bool value) {
    const std::lock_guard lock{mutex};
    open = value;
    changed.notify_all();
  }
  [[nodiscard]] bool wait_for(int count) {
    std::unique_lock lock{mutex};
    return changed.wait_for(lock, test_deadline, [&] { return waiting == count; });
  }
  [[nodiscard]] int passed_count() {
    const std::lock_guard lock{mutex};
    return passed;
  }
};

Gate& gate() {
  static Gate& gate = *new Gate; // a thread that is left to itself may come late
  return gate;
}

template <class Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

constexpr std::string_view slow_name = "slow.example";

} // namespace

} // namespace squall::actor_tests

extern "C" int stat(const char* path, struct stat* status) noexcept {
  using namespace squall::actor_tests;
  static auto* const call = original<int(const char*, struct stat*)>("stat");
  if (std::string_view{path}.find("squall-tls-") != std::string_view::npos)
    gate().pass();
  return call(path, status);
}

extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  using namespace squall::actor_tests;
  static auto* const call =
      original<int(const char*, const char*, const addrinfo*, addrinfo**)>("getaddrinfo");
  if (host == nullptr || host != slow_name)
    return call(host, service, hints, found);
  gate().pass();
  return call("127.0.0.1", service, hints, found);
}

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

/// Goes on when the test moves it; read by the threads of the loops.
class SharedClock final : public Clock {
public:
  [[nodiscard]] TimePoint now() const override { return TimePoint{Duration{now_.load()}}; }
  void advance(Duration duration) { now_ += duration.count(); }

private:
  std::atomic<Duration::rep> now_{Duration{std::chrono::hours{1}}.count()};
};

class BlockingCalls : public ActorTest {
protected:
  BlockingCalls() {
    folder_.issue_for("first");
    io_.reset();
    io_.emplace(system_, IOOptions{1, &clock_}); // one thread: whoever holds it up holds up all
  }
  ~BlockingCalls() override { gate().set(true); }

  Endpoint listen_tls() {
    const TLSContext context{tls_server_options(folder_.certificate(), folder_.key())};
    listener_ = io_->spawn_listener(echo, {.accept = {context}});
    return listen_with(listener_);
  }
  static std::string name_at(const Endpoint& server) { return TLSClient{server}.server_name(); }
  static std::string echoed(const Endpoint& server) { return TLSClient{server}.ask("hello\n"); }

  PemFolder folder_;
  SharedClock clock_;
};

TEST_F(BlockingCalls, AReloadThatLastsHoldsUpNoConnection) {
  const Endpoint server = listen_tls();
  TLSClient before{server};
  gate().set(false);
  const auto reload = begin(listener_, ReloadTLS{});
  ASSERT_TRUE(gate().wait_for(1));
  EXPECT_EQ(before.ask("still here\n"), "still here\n");
  EXPECT_EQ(name_at(server), "first");
  folder_.issue_for("second");
  gate().set(true);
  EXPECT_TRUE(take<Done>(reload));
  EXPECT_EQ(name_at(server), "second");
}

/// Who asks while one is under way wants the files as they are then.
TEST_F(BlockingCalls, ReloadsFollowEachOther) {
  const Endpoint server = listen_tls();
  gate().set(false);
  const auto first = begin(listener_, ReloadTLS{});
  ASSERT_TRUE(gate().wait_for(1));
  const auto second = begin(listener_, ReloadTLS{});
  const auto third = begin(listener_, ReloadTLS{});
  EXPECT_EQ(echoed(server), "hello\n");
  ASSERT_TRUE(gate().wait_for(1)) << "one reads";
  folder_.issue_for("second");
  const int passed = gate().passed_count();
  gate().set(true);
  EXPECT_TRUE(take<Done>(first));
  EXPECT_TRUE(take<Done>(second));
  EXPECT_TRUE(take<Done>(third));
  EXPECT_EQ(gate().passed_count() - passed, 4) << "two reloads of two files";
  EXPECT_EQ(name_at(server), "second");
}

TEST_F(BlockingCalls, AReloadThatLastsIsAnsweredOnceAtTheEndOfItsListener) {
  static_cast<void>(listen_tls());
  gate().set(false);
  const auto first = begin(listener_, ReloadTLS{});
  ASSERT_TRUE(gate().wait_for(1));
  const auto second = begin(listener_, ReloadTLS{});
  caf::anon_send_exit(listener_, caf::exit_reason::user_shutdown);
  EXPECT_FALSE(take<Done>(first));
  EXPECT_FALSE(take<Done>(second));
  end_io(); // which waits for no file
  gate().set(true);
  ASSERT_TRUE(gate().wait_for(0));
}

TEST_F(BlockingCalls, AReloadThatTakesTooLongFailsAndTheNextIsToldWhy) {
  const LogRecorder log;
  const Endpoint server = listen_tls();
  gate().set(false);
  const auto first = begin(listener_, ReloadTLS{});
  ASSERT_TRUE(gate().wait_for(1));
  const auto second = begin(listener_, ReloadTLS{});
  sync(listener_);
  clock_.advance(reload_timeout);
  sync(listener_); // the loop looks at its clock
  for (const auto* reload : {&first, &second}) {
    const auto outcome = take<Done>(*reload);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(static_cast<ListenerErrc>(outcome.error.code()), ListenerErrc::cannot_reload);
    EXPECT_EQ(error_text(outcome.error), "reading \"" + folder_.certificate() + "\" takes longer than 10 s");
  }
  const auto refused = ask<Done>(listener_, ReloadTLS{});
  EXPECT_EQ(error_text(refused.error), "an earlier reload still waits for \"" + folder_.certificate() + '"');
  EXPECT_EQ(log.count("tls_reload_failed"), 2U);
  folder_.issue_for("second");
  gate().set(true);
  ASSERT_TRUE(wait_until([&] { return static_cast<bool>(ask<Done>(listener_, ReloadTLS{})); }));
  EXPECT_EQ(name_at(server), "second");
}

/// A FIFO without a writer would be waited for until the end of days.
TEST_F(BlockingCalls, AFifoInThePlaceOfACertificateFailsTheReload) {
  const Endpoint server = listen_tls();
  TLSClient before{server};
  std::filesystem::remove(folder_.certificate());
  ASSERT_EQ(::mkfifo(folder_.certificate().c_str(), 0600), 0);
  const auto refused = ask<Done>(listener_, ReloadTLS{});
  ASSERT_FALSE(refused);
  EXPECT_NE(error_text(refused.error).find(folder_.certificate() + "\": is a FIFO"), std::string::npos)
      << error_text(refused.error);
  EXPECT_EQ(before.ask("still here\n"), "still here\n");
  EXPECT_EQ(name_at(server), "first");
}

/// SIGTERM while a reload of SIGHUP waits for a file.
TEST_F(BlockingCalls, AServerObjectEndsWhileItReloads) {
  std::promise<Endpoint> listens;
  std::thread running{[&] {
    const TLSContext context{tls_server_options(folder_.certificate(), folder_.key())};
    TCPServer server{Handler{echo}, {.io_threads = 1, .accept = {context}}};
    listens.set_value(server.listen(0, "127.0.0.1").front());
    EXPECT_EQ(server.run(), 0);
  }};
  const Endpoint endpoint = listens.get_future().get();
  wait_until([] {
    struct sigaction now {};
    return ::sigaction(SIGHUP, nullptr, &now) == 0 && now.sa_handler != SIG_DFL;
  });
  gate().set(false);
  ::kill(::getpid(), SIGHUP);
  EXPECT_TRUE(gate().wait_for(1));
  EXPECT_EQ(echoed(endpoint), "hello\n");
  ::kill(::getpid(), SIGTERM);
  running.join();
}

TEST_F(BlockingCalls, TheNameOfAListenIsLookedUpOutsideOfTheLoop) {
  const Endpoint server = listen_tls();
  gate().set(false);
  const auto listening = begin(listener_, Listen{0, std::string{slow_name}, {}});
  ASSERT_TRUE(gate().wait_for(1));
  EXPECT_EQ(echoed(server), "hello\n");
  gate().set(true);
  const auto outcome = take<Listening>(listening);
  ASSERT_TRUE(outcome) << error_text(outcome.error);
  ASSERT_EQ(outcome.value->endpoints.size(), 1U);
  EXPECT_EQ(outcome.value->endpoints[0].address, "127.0.0.1");
  EXPECT_EQ(echoed(outcome.value->endpoints[0]), "hello\n");
}

TEST_F(BlockingCalls, AListenThatLooksUpIsAnsweredOnceAtStopAndAtTheEnd) {
  static_cast<void>(listen_tls());
  gate().set(false);
  const auto stopped = begin(listener_, Listen{0, std::string{slow_name}, {}});
  ASSERT_TRUE(gate().wait_for(1));
  ASSERT_TRUE(ask<Done>(listener_, Stop{}));
  const auto outcome = take<Listening>(stopped);
  EXPECT_EQ(static_cast<ListenerErrc>(outcome.error.code()), ListenerErrc::cannot_listen);
  EXPECT_NE(error_text(outcome.error).find("stopped"), std::string::npos) << error_text(outcome.error);
  const auto ended = begin(listener_, Listen{0, std::string{slow_name}, {}});
  ASSERT_TRUE(gate().wait_for(2));
  end_io();
  EXPECT_FALSE(take<Listening>(ended));
  gate().set(true);
  ASSERT_TRUE(gate().wait_for(0));
}

TEST_F(BlockingCalls, AListenTellsWhyItsNameIsNone) {
  listener_ = io_->spawn_listener(echo);
  for (const std::string& name : {std::string{"no..name"}, std::string(300, 'a'), std::string{"a\0b", 3}}) {
    const auto outcome = ask<Listening>(listener_, Listen{0, name, {}});
    EXPECT_EQ(static_cast<ListenerErrc>(outcome.error.code()), ListenerErrc::cannot_listen) << name;
    EXPECT_NE(error_text(outcome.error).find("cannot look up the address to listen on"), std::string::npos)
        << error_text(outcome.error);
  }
  const auto local = ask<Listening>(listener_, Listen{0, "localhost", {}});
  ASSERT_TRUE(local) << error_text(local.error);
  EXPECT_EQ(local.value->endpoints[0].address, "127.0.0.1") << "IPv4 before IPv6, as bind_sockets";
}

} // namespace

} // namespace squall::actor_tests
