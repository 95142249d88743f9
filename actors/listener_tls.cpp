// SPDX-License-Identifier: BSD-3-Clause
//
// listener_tls.cpp: how a listener gets other contexts of TLS.
#include "actors/listener.hpp"
#include "net/regular_file.hpp"
#include "net/tell.hpp"

#include <algorithm>

namespace squall {

/// One reload at a time. Those that are asked for meanwhile want the files as they are now, so that one more follows.
void Listener::reload_tls(Reply reply) {
  if (reload_ == nullptr) {
    reloads_.push_back(std::move(reply));
    begin_reload();
  } else if (reload_timer_.armed()) {
    later_reloads_.push_back(std::move(reply));
  } else { // it has taken too long, and is not over
    reloads_.push_back(std::move(reply));
    answer_reload("an earlier reload still waits for " + quoted_path(reload_->reading()));
  }
}

std::vector<AcceptOptions*> Listener::all_accept_options() {
  std::vector<AcceptOptions*> options{&accept_};
  for (const auto& entry : entries_)
    options.push_back(&entry->accept);
  return options;
}

void Listener::begin_reload() {
  std::vector<TLSContext> contexts; // sockets that share one go on sharing one
  for (const AcceptOptions* of : all_accept_options())
    if (of->tls && std::find(contexts.begin(), contexts.end(), of->tls) == contexts.end())
      contexts.push_back(of->tls);
  if (contexts.empty())
    return answer_reload({});
  try {
    reload_ = std::make_unique<TLSReload>(
        unit(), std::move(contexts), [this](const TLSReload::Outcome& outcome) { finish_reload(outcome); });
    reload_timer_.start_after(loop(), reload_timeout);
  } catch (const std::exception& error) {
    answer_reload(error.what());
  }
}

/// All or none.
void Listener::finish_reload(const TLSReload::Outcome& outcome) {
  const bool in_time = reload_timer_.armed();
  reload_timer_.cancel();
  reload_ = nullptr;
  if (!in_time) // nobody waits for it
    return;
  if (outcome.error.empty())
    for (AcceptOptions* of : all_accept_options())
      for (const auto& [before, after] : outcome.reloaded)
        if (of->tls == before) {
          of->tls = after;
          break;
        }
  if (outcome.error.empty())
    tell(LogLevel::info, "tls_reloaded", "certificates and keys were read again", [&] {
      return LogFields{{"contexts", std::to_string(outcome.reloaded.size())}};
    });
  answer_reload(outcome.error);
  if (later_reloads_.empty())
    return;
  reloads_ = std::exchange(later_reloads_, {});
  begin_reload();
}

void Listener::reload_timed_out() {
  std::move(later_reloads_.begin(), later_reloads_.end(), std::back_inserter(reloads_));
  later_reloads_.clear();
  answer_reload("reading " + quoted_path(reload_->reading()) + " takes longer than " +
                std::to_string(reload_timeout.count()) + " s");
}

/// @param error  empty: it is done
void Listener::answer_reload(const std::string& error) {
  if (!error.empty())
    tell(LogLevel::error, "tls_reload_failed", "the certificates and keys that are in use stay", [&] {
      return LogFields{{"error", error}};
    });
  for (Reply& reply : std::exchange(reloads_, {}))
    try_step([&] {
      if (error.empty())
        reply.deliver(*this);
      else
        reply.deliver(*this, make_error(ListenerErrc::cannot_reload, error));
    });
}

void Listener::end_reload() {
  reload_timer_.cancel();
  reload_ = nullptr;
  for (auto* replies : {&reloads_, &later_reloads_})
    for (Reply& reply : std::exchange(*replies, {}))
      try_step([&] { reply.deliver(*this, refusal()); });
}

void Listener::replace_tls(Reply reply, const ReplaceTLS& request) {
  const bool fits = request.replaced && request.replacement && request.replacement.side() == TLSSide::server;
  bool used = false;
  const auto replace = [&](AcceptOptions& options) {
    if (!fits || !options.tls.same_origin(request.replaced)) // also when it was reloaded since
      return;
    options.tls = request.replacement;
    used = true;
  };
  replace(accept_);
  for (const auto& entry : entries_)
    replace(entry->accept);
  if (used)
    reply.deliver(*this);
  else
    reply.deliver(*this, make_error(ListenerErrc::cannot_reload,
                                    fits ? "no socket of the listener uses the context that is to be replaced"
                                         : "two contexts of TLS for servers are needed"));
}

} // namespace squall
