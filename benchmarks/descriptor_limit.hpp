// SPDX-License-Identifier: BSD-3-Clause
//
// descriptor_limit.hpp: raises this process's own soft limit on open descriptors.
//
// Shells and service managers often hand out a soft limit of 1024, far below the thousands of connections
// that a run with idle connections opens; the hard limit is what the machine really allows.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <system_error>

namespace bench {

inline rlimit descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
    throw std::system_error(errno, std::generic_category(), "getrlimit");
  return limit;
}

/// Raises the soft limit to `needed` where it is lower.
/// @error std::runtime_error when the hard limit forbids it; nothing was changed.
inline void require_descriptors(rlim_t needed) {
  auto limit = descriptor_limit();
  if (limit.rlim_cur >= needed)
    return;
  if (limit.rlim_max < needed)
    throw std::runtime_error("process descriptor limit reached (" + std::to_string(limit.rlim_max) +
                             " hard, " + std::to_string(needed) +
                             " needed): raise `ulimit -Hn` or ask for fewer connections");
  limit.rlim_cur = needed;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    throw std::system_error(errno, std::generic_category(), "setrlimit");
}

/// Raises the soft limit to the hard one where the system allows it; a refusal shows up later, if ever, as a
/// failed accept.
inline void raise_descriptor_limit() {
  auto limit = descriptor_limit();
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

} // namespace bench
