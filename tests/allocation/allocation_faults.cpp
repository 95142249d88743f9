// SPDX-License-Identifier: BSD-3-Clause
//
// allocation_faults.cpp
#include "tests/allocation/allocation_faults.hpp"

#include <openssl/crypto.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <execinfo.h>
#include <malloc.h>
#include <new>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace squall::testing_support {

namespace {

constexpr int most_frames = 40;

/// How long there is no memory at all: many turns of a loop, and looks whether there is some again.
constexpr std::chrono::milliseconds total_time{30};

/// What a child tells its parent.
struct Report {
  std::atomic<long> point{0}; ///< that is under way
  std::atomic<long> touched{0};
  std::atomic<bool> done{false};
  std::atomic<int> frame_count{0};
  std::array<void*, most_frames> frames{}; ///< where memory ran out
  std::atomic<int> death_frame_count{0};
  std::array<void*, most_frames> death_frames{}; ///< where a signal ended the child
  std::atomic<std::size_t> text_size{0};
  std::array<char, 1 << 18> text{}; ///< complaints, each ends with a line feed
};

std::atomic<bool> armed{false};
std::atomic<long> missing{0}; ///< allocations until the one that fails
std::atomic<bool> failed{false};
std::atomic<std::chrono::steady_clock::time_point> failed_at;
std::atomic<long> credit{0}; ///< bytes that were freed since
std::atomic<Shortage> shortage_now{Shortage::once};
std::atomic<FailingThreads> threads_now{FailingThreads::io};
std::atomic<Report*> report{nullptr};

/// The thread is one of those that fail.
bool is_chosen() noexcept {
  enum class Kind : unsigned char { unknown, io, worker, other };
  thread_local Kind kind = Kind::unknown;
  if (kind == Kind::unknown || kind == Kind::other) { // a thread gets its name after it began
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    const std::string_view text{name};
    kind = text == "squall-io"                   ? Kind::io
           : text.starts_with("caf.multiplexer") ? Kind::other
           : text.starts_with("caf.")            ? Kind::worker
                                                 : Kind::other;
  }
  return kind == Kind::io || (kind == Kind::worker && threads_now.load() == FailingThreads::io_and_workers);
}

void record_place() noexcept {
  Report* to = report.load();
  if (to != nullptr)
    to->frame_count = backtrace(to->frames.data(), most_frames);
}

/// True where an allocation of `size` bytes is to fail.
bool fails(std::size_t size) noexcept {
  thread_local bool inside = false;
  if (!armed.load(std::memory_order_relaxed) || inside)
    return false;
  inside = true;
  bool result = false;
  if (is_chosen()) {
    const long left = missing.fetch_sub(1) - 1;
    if (left == 0) {
      failed_at = std::chrono::steady_clock::now();
      failed = result = true; // first: what other threads free counts from now on
      record_place();
    } else if (left < 0 && shortage_now.load() == Shortage::total) {
      while (!failed.load()) { // the other thread is about to tell since when
      }
      result = std::chrono::steady_clock::now() - failed_at.load() < total_time;
    } else if (left < 0 && shortage_now.load() == Shortage::lasts) {
      const auto wanted = static_cast<long>(size);
      result = credit.fetch_sub(wanted) < wanted;
      if (result)
        credit.fetch_add(wanted);
    }
  }
  inside = false;
  return result;
}

void* allocate(std::size_t size, std::size_t alignment = 0) noexcept {
  if (fails(size))
    return nullptr;
  return alignment == 0 ? std::malloc(size == 0 ? 1 : size)
                        : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void release(void* memory) noexcept {
  if (memory != nullptr && failed.load(std::memory_order_relaxed) && armed.load(std::memory_order_relaxed))
    credit.fetch_add(static_cast<long>(malloc_usable_size(memory)));
  std::free(memory);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment = 0) {
  for (;;) {
    if (void* const memory = allocate(size, alignment))
      return memory;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr)
      throw std::bad_alloc{};
    handler();
  }
}

// -- OpenSSL's

void* tls_allocate(std::size_t size, const char*, int) { return size == 0 ? nullptr : allocate(size); }
void* tls_reallocate(void* memory, std::size_t size, const char*, int) {
  return size > 0 && fails(size) ? nullptr : std::realloc(memory, size);
}
void tls_release(void* memory, const char*, int) { release(memory); }

[[maybe_unused]] const int tls_hooked = CRYPTO_set_mem_functions(tls_allocate, tls_reallocate, tls_release);

} // namespace

void arm_allocation_fault(Shortage shortage, FailingThreads threads, long n) noexcept {
  shortage_now = shortage;
  threads_now = threads;
  failed = false;
  credit = 0;
  missing = n;
  armed = true;
}

bool disarm_allocation_fault() noexcept {
  armed = false;
  return failed.load();
}

void complain(const std::string& what) {
  Report* to = report.load();
  if (to == nullptr)
    return;
  const std::string line = "point " + std::to_string(to->point.load()) + ": " + what + '\n';
  const std::size_t at = to->text_size.fetch_add(line.size());
  if (at + line.size() <= to->text.size())
    std::memcpy(to->text.data() + at, line.data(), line.size());
}

// -- the tour

namespace {

extern "C" void tell_death(int) {
  Report* to = report.load();
  if (to != nullptr && to->death_frame_count == 0)
    to->death_frame_count = backtrace(to->death_frames.data(), most_frames);
} // the signal has its default action from here on

/// The child tells where its first signal of death came.
void tell_deaths() {
  struct sigaction action {};
  action.sa_handler = tell_death;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE})
    ::sigaction(signal, &action, nullptr);
}

/// Runs points from `point` on, until one is untouched.
[[noreturn]] void run_child(Report& to, Shortage shortage, FailingThreads threads,
                            const std::function<std::unique_ptr<Scenario>()>& make, long step) {
  tell_deaths();
  void* warm_up[2];
  backtrace(warm_up, 2); // which allocates when it is called first
  {
    const auto scenario = make();
    for (;; to.point += step) {
      scenario->prepare();
      arm_allocation_fault(shortage, threads, to.point);
      scenario->run();
      const bool touched = disarm_allocation_fault();
      scenario->check();
      if (!touched)
        break;
      ++to.touched;
    }
  }
  to.done = true;
  std::fflush(nullptr);
  _exit(0);
}

/// A line of backtrace_symbols(3), "program(name+0x1) [address]", for people.
std::string readable(std::string_view symbol) {
  const std::size_t begin = symbol.find('(') + 1;
  const std::string name{symbol.substr(begin, symbol.find('+', begin) - begin)};
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> plain{
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free};
  return plain != nullptr ? plain.get() : std::string{symbol.substr(symbol.rfind('/') + 1)};
}

std::string place_of(const std::array<void*, most_frames>& frames, int count) {
  std::string text;
  char** const symbols = backtrace_symbols(frames.data(), count);
  for (int i = 0; symbols != nullptr && i < count; ++i)
    text += "\n    " + readable(symbols[i]).substr(0, 160);
  std::free(symbols);
  return text;
}

/// Where memory ran out, and where the child died.
std::string places_of(const Report& from) {
  std::string text = place_of(from.frames, from.frame_count);
  if (from.death_frame_count > 0)
    text += "\n  died in" + place_of(from.death_frames, from.death_frame_count);
  return text;
}

/// Waits for the child's end, or ends it when a point takes too long. @returns its status
int await_child(pid_t child, const Report& from, bool& stuck) {
  constexpr std::chrono::seconds longest_point{30};
  long last = -1;
  auto since = std::chrono::steady_clock::now();
  int status = 0;
  stuck = false;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    const long now = from.point;
    if (now != last) {
      last = now;
      since = std::chrono::steady_clock::now();
    } else if (std::chrono::steady_clock::now() - since > longest_point) {
      stuck = true;
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      break;
    }
    ::poll(nullptr, 0, 1);
  }
  return status;
}

} // namespace

TourResult tour_of_allocations(Shortage shortage, FailingThreads threads,
                               const std::function<std::unique_ptr<Scenario>()>& make, long step) {
  void* const shared =
      ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED)
    throw std::bad_alloc{};
  Report& from = *new (shared) Report;
  from.point = 1;
  TourResult result;
  constexpr std::size_t most_findings = 200;
  while (!from.done && result.findings.size() < most_findings) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      report = &from;
      run_child(from, shortage, threads, make, step);
    }
    bool stuck = false;
    const int status = await_child(child, from, stuck);
    if (from.done)
      break;
    result.findings.push_back("point " + std::to_string(from.point.load()) + ": " +
                              (stuck                 ? "is stuck"
                               : WIFSIGNALED(status) ? "dies by signal " + std::to_string(WTERMSIG(status))
                                                     : "exits with " + std::to_string(WEXITSTATUS(status))) +
                              places_of(from));
    from.death_frame_count = 0;
    ++from.touched;
    from.point += step;
  }
  result.points = from.touched;
  std::string_view text{from.text.data(), std::min(from.text_size.load(), from.text.size())};
  for (std::size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1))
    result.findings.emplace_back(text.substr(0, end));
  ::munmap(shared, sizeof(Report));
  return result;
}

} // namespace squall::testing_support

// -- the program's own allocation functions

// NOLINTBEGIN
void* operator new(std::size_t size) { return squall::testing_support::allocate_or_throw(size); }
void* operator new[](std::size_t size) { return squall::testing_support::allocate_or_throw(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return squall::testing_support::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return squall::testing_support::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return squall::testing_support::allocate(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return squall::testing_support::allocate(size);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return squall::testing_support::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return squall::testing_support::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { squall::testing_support::release(memory); }
void operator delete[](void* memory) noexcept { squall::testing_support::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { squall::testing_support::release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { squall::testing_support::release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { squall::testing_support::release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { squall::testing_support::release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  squall::testing_support::release(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  squall::testing_support::release(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  squall::testing_support::release(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  squall::testing_support::release(memory);
}
// NOLINTEND
