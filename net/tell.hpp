// SPDX-License-Identifier: BSD-3-Clause
//
// tell.hpp: for where nothing may be thrown, or no step left out, whatever memory lacks.
#pragma once

#include "net/memory_reserve.hpp"
#include <squall/net/log.hpp>

#include <new>

namespace squall {

/// Does `step`, or as much of it as there is memory for.
template <class F>
void try_step(F step) {
  try {
    step();
  } catch (const std::bad_alloc&) {
  }
}

/// log_event with the fields that `make_fields` returns, which is called where the event is looked at only. The fields may
/// use the loop's reserve of memory; without any the event goes without them.
template <class F>
void tell(LogLevel level, std::string_view name, std::string_view message, F make_fields) noexcept {
  if (!log_enabled(level))
    return;
  const ReserveUse use;
  try {
    log_event(level, name, message, make_fields());
  } catch (...) {
    log_event(level, name, message);
  }
}

} // namespace squall
