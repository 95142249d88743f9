// SPDX-License-Identifier: BSD-3-Clause
//
// process_support.hpp: runs tests/process_helper.cpp or server_helper.cpp, and reads what it and its children say.
#pragma once

#include "tests/net/support.hpp"
#include <squall/net/subprocess.hpp>

#include <algorithm>
#include <csignal>
#include <sstream>

namespace squall::testing_support {

/// A run of a helper. Its output ends when no process of the run is left that has it open.
class Helper {
public:
  Helper(EventLoop& loop, std::vector<std::string> arguments, const char* program = SQUALL_PROCESS_HELPER)
      : loop_{loop}, process_{start(loop, program, std::move(arguments))} {}
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  ~Helper() {
    process_.kill(); // and its children with it, which the tests check
    EXPECT_TRUE(run_until(
        loop_, [&] { return process_.returncode().has_value(); })); // no zombie is left to other tests
  }

  [[nodiscard]] Subprocess& process() noexcept { return process_; }

  /// The next line of its output, without the end of line.
  std::string line() {
    const std::string line = read_from(process_.standard_output(), ReadUntil{"\n"});
    return line.ends_with('\n') ? line.substr(0, line.size() - 1) : line;
  }

  /// The next lines, sorted: those of several processes come in any order.
  std::vector<std::string> lines(std::size_t count) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < count; ++i)
      lines.push_back(line());
    std::sort(lines.begin(), lines.end());
    return lines;
  }

  /// All other output, and the lines of it, sorted.
  std::vector<std::string> rest() { return split(to_end(process_.standard_output())); }
  /// All of standard error.
  std::string errors() { return to_end(process_.standard_error()); }

  int returncode() {
    EXPECT_TRUE(run_until(loop_, [&] { return process_.returncode().has_value(); }));
    return process_.returncode().value_or(-1000);
  }

private:
  static Subprocess start(EventLoop& loop, const char* program, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program);
    SubprocessOptions options;
    options.standard_input = StandardStream::null;
    options.standard_output = StandardStream::stream;
    options.standard_error = StandardStream::stream;
    return Subprocess{loop, arguments, options};
  }

  std::string to_end(IOStream& stream) { return read_from(stream, ReadUntilClose{}); }

  std::string read_from(IOStream& stream, ReadRequest request) {
    TestRead read{stream, std::move(request)};
    if (!run_until(loop_, [&] { return read.answered(); }))
      stream.forget_read(read); // it must not outlive `read`
    return read.text();
  }

  static std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line);)
      lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
  }

  EventLoop& loop_;
  Subprocess process_;
};

inline std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

} // namespace squall::testing_support
