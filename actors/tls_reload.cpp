// SPDX-License-Identifier: BSD-3-Clause
//
// tls_reload.cpp
#include "actors/tls_reload.hpp"

#include "net/signals_blocked.hpp"
#include "net/tell.hpp"
#include "net/tls_context_state.hpp"
#include "net/tls_files.hpp"

#include <exception>
#include <mutex>

namespace squall {

/// Shared with the thread.
struct TLSReload::State : std::enable_shared_from_this<State> {
  std::vector<TLSContext> contexts;
  std::function<void(Outcome)> done; ///< on the loop's thread only

  std::mutex mutex;               // of all below
  std::shared_ptr<LoopUnit> home; ///< nullptr: nobody waits for the outcome
  bool reads = true;              ///< it may be in a call that does not end
  std::string file;

  void run();
  void make(Outcome& outcome);
  void tell(Outcome outcome);
};

/// First all that may last, then what OpenSSL does, which must not outlive the program's main function.
void TLSReload::State::make(Outcome& outcome) {
  TLSFiles files{[this](const std::string& path) {
    const std::lock_guard lock{mutex};
    file = path;
  }};
  for (const TLSContext& context : contexts)
    files.read(context);
  {
    const std::lock_guard lock{mutex};
    reads = false;
    if (home == nullptr)
      return;
  }
  for (const TLSContext& context : contexts)
    outcome.reloaded.emplace_back(context, TLSContextState::reload(context, files));
}

void TLSReload::State::run() {
  Outcome outcome;
  try {
    make(outcome);
  } catch (const std::bad_alloc&) {
    outcome.error = "out of memory"; // short enough to need none
  } catch (const std::exception& error) {
    try_step([&] { outcome.error = error.what(); });
    if (outcome.error.empty())
      outcome.error = "out of memory";
  }
  try_step([&] { tell(std::move(outcome)); }); // else the time of the reload runs out, which is told
}

void TLSReload::State::tell(Outcome outcome) {
  const auto shared = std::make_shared<Outcome>(std::move(outcome)); // std::function wants what can be copied
  const std::lock_guard lock{mutex};
  reads = false;
  if (home != nullptr)
    home->post([state = shared_from_this(), shared] {
      if (const auto tell_of = std::exchange(state->done, nullptr)) // it may destroy the TLSReload
        tell_of(std::move(*shared));
    });
}

TLSReload::TLSReload(std::shared_ptr<LoopUnit> home, std::vector<TLSContext> contexts,
                     std::function<void(Outcome)> done)
    : state_{std::make_shared<State>()} {
  state_->contexts = std::move(contexts);
  state_->done = std::move(done);
  state_->home = std::move(home);
  const SignalsBlocked guard;
  thread_ = std::thread{[state = state_] { state->run(); }};
}

TLSReload::~TLSReload() {
  state_->done = nullptr;
  bool reads;
  {
    const std::lock_guard lock{state_->mutex};
    state_->home = nullptr;
    reads = state_->reads;
  }
  if (reads)
    thread_.detach();
  else
    thread_.join();
}

std::string TLSReload::reading() const {
  const std::lock_guard lock{state_->mutex};
  return state_->file;
}

} // namespace squall
