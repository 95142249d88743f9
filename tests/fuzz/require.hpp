// SPDX-License-Identifier: BSD-3-Clause
//
// require.hpp: how a fuzz target says that it found something.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace squall {

inline void require(bool holds, const char* what) {
  if (holds)
    return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

} // namespace squall
