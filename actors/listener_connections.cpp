// SPDX-License-Identifier: BSD-3-Clause
//
// listener_connections.cpp: what a listener says of its connections, and how it ends them.
#include "actors/listener.hpp"

#include <algorithm>

namespace squall {

namespace {

/// How often idle connections are looked for while a listener drains.
constexpr std::chrono::milliseconds drain_interval{10};

/// Bounds what accept_rest takes while others go on connecting.
constexpr int most_rest = 65536;

} // namespace

/// Runs `function` on each loop with its connections of this listener. To end one of them may end others: each function of
/// a Connection that is called from here may come after its end.
template <class F>
void Listener::for_each_connection(F function) {
  for (const auto& unit : *units_)
    unit->post([unit, function, state = state_] {
      std::vector<caf::strong_actor_ptr> found;
      unit->for_each_actor([&](LoopActor& actor) {
        if (const auto* connection = dynamic_cast<Connection*>(&actor))
          if (connection->is_of(*state))
            found.push_back(connection->strong_ref());
      });
      function(found);
    });
}

namespace {

/// Collects what the loops say, and answers when the last has.
template <class T>
struct Gathering {
  Gathering(Reply to, std::size_t loops) : reply{std::move(to)}, missing{loops} {}
  Reply reply;
  std::size_t missing;
  T found{};
};

} // namespace

void Listener::list_connections(Reply reply) {
  const auto gathering =
      std::make_shared<Gathering<std::vector<ConnectionInfo>>>(std::move(reply), units_->size());
  for_each_connection(
      [gathering, self = strong_ref()](const std::vector<caf::strong_actor_ptr>& connections) {
        std::vector<ConnectionInfo> rows;
        for (const caf::strong_actor_ptr& connection : connections)
          rows.push_back(static_cast<Connection*>(connection->get())->connection_info());
        auto& listener = *static_cast<Listener*>(self->get());
        listener.unit()->post([gathering, self, &listener, rows = std::move(rows)] {
          auto& all = gathering->found;
          all.insert(all.end(), rows.begin(), rows.end());
          if (--gathering->missing > 0)
            return;
          std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
          gathering->reply.deliver(listener, ConnectionList{std::move(all)});
        });
      });
}

void Listener::close_connection(Reply reply, const CloseConnection& request) {
  const auto gathering = std::make_shared<Gathering<bool>>(std::move(reply), units_->size());
  for_each_connection([gathering, request,
                       self = strong_ref()](const std::vector<caf::strong_actor_ptr>& connections) {
    bool found = false;
    for (const caf::strong_actor_ptr& actor : connections) {
      auto& connection = *static_cast<Connection*>(actor->get());
      if (connection.id() != request.id)
        continue;
      found = true;
      connection.cut(request.abort ? CloseReason::aborted : CloseReason::local_close);
    }
    auto& listener = *static_cast<Listener*>(self->get());
    listener.unit()->post([gathering, self, &listener, request, found] {
      gathering->found = gathering->found || found;
      if (--gathering->missing > 0)
        return;
      if (gathering->found)
        gathering->reply.deliver(listener);
      else
        gathering->reply.deliver(listener,
                                 make_error(ListenerErrc::no_such_connection,
                                            "no open connection has the id " + std::to_string(request.id)));
    });
  });
}

// -- draining

void Listener::drain(Reply reply, Duration deadline) {
  const ReserveUse use;
  const TimePoint until = loop().now() + deadline;
  const bool begins = drain_replies_.empty();
  drain_deadline_ = begins ? until : std::min(drain_deadline_, until);
  drain_replies_.push_back(std::move(reply));
  if (!drain_timer_.armed())
    drain_timer_.start_after(loop(), drain_interval); // first, so that it goes on whatever memory lacks below
  if (begins) {
    state_->ended_draining = state_->idle_draining = state_->cut_draining = 0;
    state_->drain_began = loop().now();
    state_->draining = true; // those that are on their way to their loop see it when they come there
    accept_rest();
    stop();
    for_each_connection([](const std::vector<caf::strong_actor_ptr>& connections) {
      for (const caf::strong_actor_ptr& connection : connections)
        static_cast<Connection*>(connection->get())->begin_drain();
    });
  }
  check_drain();
}

/// Takes those that wait in the kernel: closing their listening socket would reset them.
void Listener::accept_rest() {
  int accepted = 0;
  for (const auto& entry : std::vector{entries_}) // a handler may stop the listener
    while (accepted < most_rest && !full() && entry->acceptor.accept_rest(1) > 0)
      ++accepted;
}

void Listener::check_drain() {
  const ReserveUse use;
  if (!drain_timer_.armed()) // it goes on whatever memory lacks below
    drain_timer_.start_after(loop(), drain_interval);
  if (!entries_.empty())
    stop(); // its beginning failed
  const bool over = loop().now() >= drain_deadline_;
  if (over)
    for (const auto& entry : ending_)
      if (entry->proxy)
        entry->proxy->close_pending("the time of draining is over");
  // At the deadline a handler that does not notice that it is killed, since it keeps a worker busy, is not waited for.
  const bool nothing_left = over ? state_->all_cut() : state_->places == 0 && rejecting_.use_count() == 1;
  if (state_->open == 0 && awaiting_header() == 0 && nothing_left) {
    drain_timer_.cancel();
    state_->draining = false;
    const std::uint64_t ended = state_->ended_draining;
    const std::uint64_t idle = state_->idle_draining;
    const std::uint64_t cut = std::min(state_->cut_draining.load(), ended - idle);
    auto replies = std::exchange(drain_replies_, {});
    publish_info();
    for (Reply& reply : replies)
      reply.deliver(*this, Drained{ended - idle - cut, idle, cut});
    return;
  }
  if (over) // again and again, since some may still come to their loop, or just end
    for_each_connection([state = state_](const std::vector<caf::strong_actor_ptr>& connections) {
      for (const caf::strong_actor_ptr& connection : connections)
        static_cast<Connection*>(connection->get())->end_drain();
      state->cut_left(*EventLoop::current());
    });
  else
    for_each_connection([](const std::vector<caf::strong_actor_ptr>& connections) {
      for (const caf::strong_actor_ptr& connection : connections)
        static_cast<Connection*>(connection->get())->close_if_idle();
    });
  drain_timer_.start_after(loop(), over ? Duration{drain_interval}
                                        : std::min<Duration>(drain_interval, drain_deadline_ - loop().now()));
}

} // namespace squall
