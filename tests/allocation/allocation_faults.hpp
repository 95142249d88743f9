// SPDX-License-Identifier: BSD-3-Clause
//
// allocation_faults.hpp: memory that runs out, where a test wants it to.
//
// This program's operator new, in all its forms, and OpenSSL's allocations fail as a test says. A tour runs a
// scenario again and again, each time with another allocation failing, in child processes: so one that dies is
// found, with the place where memory ran out, and the tour goes on behind it.
//
// Threads    Only the I/O threads of Squall fail, or these and the workers of CAF: never the test's own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace squall::testing_support {

enum class Shortage : unsigned char {
  once,  ///< one allocation fails
  lasts, ///< from one allocation on there is no memory but what is freed, until the fault is taken out
  total  ///< from one allocation on there is none at all, whatever is freed, for a while; then there is
};

/// Whose allocations fail.
enum class FailingThreads : unsigned char { io, io_and_workers };

/// The n-th allocation from now on fails, the first being 1.
void arm_allocation_fault(Shortage shortage, FailingThreads threads, long n) noexcept;
/// @returns whether an allocation failed
bool disarm_allocation_fault() noexcept;

/// What one scenario does; made in a child process, once for many points.
class Scenario {
public:
  virtual ~Scenario() = default;
  /// Before the fault is armed.
  virtual void prepare() {}
  /// With the fault armed. What must hold now is told with `complain`.
  virtual void run() = 0;
  /// With memory again.
  virtual void check() = 0;
};

/// Something does not hold at the point that is under way.
void complain(const std::string& what);

struct TourResult {
  long points = 0;                   ///< allocations that failed
  std::vector<std::string> findings; ///< what did not hold, each with its point
};

/// Fails the first allocation of a scenario, then the second, until a run passes untouched.
/// @param step  only each step-th
TourResult tour_of_allocations(Shortage shortage, FailingThreads threads,
                               const std::function<std::unique_ptr<Scenario>()>& make, long step = 1);

} // namespace squall::testing_support
