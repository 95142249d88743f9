// SPDX-License-Identifier: BSD-3-Clause
//
// memory_transport.hpp: a connection in memory, with faults at chosen calls. One end is a stream's transport,
// the other is moved by the test (MemoryEnd), or is another stream's transport.
//
// It keeps the contract of Transport: readiness is edge-triggered and told from the loop; a read that moves
// fewer bytes than asked says that no more are there.
#pragma once

#include <squall/net/transport.hpp>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace squall::testing_support {

/// What one call of a transport does instead of its work.
struct Fault {
  enum class Kind {
    none,
    error,       ///< fails with an errno: the connection is broken from then on
    would_block, ///< moves nothing, and tells readiness again later
    one_byte,    ///< moves one byte, and tells readiness again later
  };
  Kind kind = Kind::none;
  int error = 0;
};

/// Which call of the transports that share the plan meets a fault; counts the calls.
struct FaultPlan {
  int fail_at = -1; ///< the number of the call, from 0
  Fault fault;
  int calls = 0;

  [[nodiscard]] Fault next() { return calls++ == fail_at ? fault : Fault{}; }
  /// The call came that meets the fault.
  [[nodiscard]] bool met() const { return fail_at >= 0 && calls > fail_at; }
};

/// One end of a connection: what arrived at it and how it stands.
class MemoryEnd final : public LoopTask {
public:
  /// Bytes that are here and not read; a writer is blocked beyond `capacity`.
  std::string arrived;
  std::size_t capacity = 1024 * 1024;
  bool ended = false;      ///< the other end sends no more
  int broken = 0;          ///< an errno: reading what is left, then failing
  bool closed = false;     ///< this end is gone
  bool wants_room = false; ///< a write from here was blocked
  MemoryEnd* other = nullptr;

  /// Takes at most `size` bytes that arrived, as the application at this end.
  std::string take(std::size_t size = std::string::npos) {
    std::string taken = arrived.substr(0, size);
    arrived.erase(0, taken.size());
    if (!taken.empty() && other != nullptr && std::exchange(other->wants_room, false))
      other->notify({false, true, false});
    return taken;
  }

  /// Sends from this end; returns how much the other one had room for.
  std::size_t send(std::string_view data) {
    if (other == nullptr || other->closed)
      return 0;
    const std::size_t room = other->capacity - std::min(other->capacity, other->arrived.size());
    const std::size_t size = std::min(room, data.size());
    other->arrived.append(data.substr(0, size));
    if (size < data.size())
      wants_room = true;
    if (size > 0)
      other->notify({true, false, false});
    return size;
  }

  void end() {
    if (other == nullptr || other->ended)
      return;
    other->ended = true;
    other->notify({true, false, true});
  }

  void break_other(int error) {
    if (other == nullptr || other->broken != 0)
      return;
    other->broken = error;
    other->notify({true, true, true, true});
  }

  void close() {
    if (std::exchange(closed, true))
      return;
    // As TCP: who closes with unread bytes resets the connection.
    if (arrived.empty())
      end();
    else
      break_other(ECONNRESET);
  }

  void watch(EventLoop& loop, Watcher& watcher) {
    loop_ = &loop;
    watcher_ = &watcher;
    notify({!arrived.empty() || ended, true, ended, broken != 0});
  }
  void unwatch() {
    watcher_ = nullptr;
    LoopTask::unlink();
  }
  [[nodiscard]] bool watched() const { return watcher_ != nullptr; }

  void notify(Readiness readiness) {
    if (watcher_ == nullptr)
      return;
    pending_.readable |= readiness.readable;
    pending_.writable |= readiness.writable;
    pending_.hang_up |= readiness.hang_up;
    pending_.broken |= readiness.broken;
    loop_->defer(*this);
  }

private:
  void run_task() override {
    if (watcher_ != nullptr)
      watcher_->on_ready(std::exchange(pending_, Readiness{}));
  }

  EventLoop* loop_ = nullptr;
  Watcher* watcher_ = nullptr;
  Readiness pending_;
};

/// Both ends; shared by the transports and the test.
struct MemoryConnection {
  MemoryConnection() {
    a.other = &b;
    b.other = &a;
  }
  MemoryEnd a;
  MemoryEnd b;
};

/// The transport at one end.
class MemoryTransport final : public Transport {
public:
  /// What the test can see of the transport, also when it is gone.
  struct Log {
    int reads = 0;
    int writes = 0;
    int closes = 0;
    bool watched = false;
    bool nodelay = false;
  };

  MemoryTransport(std::shared_ptr<MemoryConnection> connection, MemoryEnd& end,
                  std::shared_ptr<FaultPlan> faults = std::make_shared<FaultPlan>())
      : connection_{std::move(connection)}, end_{end}, faults_{std::move(faults)} {}
  ~MemoryTransport() override { end_.unwatch(); }

  [[nodiscard]] int fileno() const noexcept override { return -1; }
  void close_fd() noexcept override {
    ++log->closes;
    if (aborts_)
      end_.break_other(ECONNRESET);
    end_.close();
  }
  bool shutdown_write() noexcept override {
    end_.end();
    return true;
  }
  [[nodiscard]] bool half_closes() const noexcept override { return true; }
  void set_abort() noexcept override { aborts_ = true; }
  void set_nodelay(bool value) noexcept override { log->nodelay = value; }
  void watch(EventLoop& loop, Watcher& watcher) override {
    log->watched = true;
    end_.watch(loop, watcher);
  }
  void unwatch(EventLoop&, Watcher&) noexcept override {
    log->watched = false;
    end_.unwatch();
  }

  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    ++log->reads;
    const Fault fault = faults_->next();
    if (fault.kind == Fault::Kind::error)
      return fail(fault.error);
    if (fault.kind == Fault::Kind::would_block) {
      end_.notify(
          {!end_.arrived.empty() || end_.ended || end_.broken != 0, false, end_.ended || end_.broken != 0});
      return IoResult::blocked();
    }
    const std::string taken = end_.take(fault.kind == Fault::Kind::one_byte ? 1 : size);
    if (!taken.empty()) {
      std::copy(taken.begin(), taken.end(), buffer);
      if (taken.size() < size && !end_.arrived.empty()) // as if the rest came only now
        end_.notify({true, false, false});
      return taken.size() < size ? IoResult::moved_all(taken.size()) : IoResult::moved(taken.size());
    }
    if (end_.broken != 0)
      return IoResult::failure(end_.broken);
    return end_.ended ? IoResult::ended() : IoResult::blocked();
  }

  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override {
    ++log->writes;
    const Fault fault = faults_->next();
    if (fault.kind == Fault::Kind::error)
      return fail(fault.error);
    if (fault.kind == Fault::Kind::would_block) {
      end_.notify({false, true, false});
      return IoResult::blocked();
    }
    if (end_.broken != 0 || end_.other->closed)
      return IoResult::failure(end_.broken != 0 ? end_.broken : EPIPE);
    const std::size_t most = fault.kind == Fault::Kind::one_byte ? 1 : end_.other->capacity + 1;
    std::string data;
    for (std::size_t i = 0; i < count && data.size() < most; ++i)
      data.append(static_cast<const char*>(pieces[i].data), std::min(pieces[i].size, most - data.size()));
    const std::size_t sent = end_.send(data);
    return sent == 0 ? IoResult::blocked() : IoResult::moved(sent);
  }

  std::shared_ptr<Log> log = std::make_shared<Log>();

private:
  IoResult fail(int error) {
    end_.broken = error;
    end_.break_other(ECONNRESET);
    return IoResult::failure(error);
  }

  std::shared_ptr<MemoryConnection> connection_;
  MemoryEnd& end_;
  std::shared_ptr<FaultPlan> faults_;
  bool aborts_ = false;
};

} // namespace squall::testing_support
