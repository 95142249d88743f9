// SPDX-License-Identifier: BSD-3-Clause
//
// inherited_sockets.cpp
#include <squall/net/inherited_sockets.hpp>
#include <squall/net/log.hpp>

#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

constexpr int first_descriptor = 3; // SD_LISTEN_FDS_START
constexpr int most_descriptors = 65536;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error{"cannot take inherited sockets: " + what};
}

/// The value of an environment variable, which is taken away.
std::optional<std::string> take_variable(const char* name) {
  const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): the header says so
  if (value == nullptr)
    return std::nullopt;
  std::string taken = value;
  ::unsetenv(name); // NOLINT(concurrency-mt-unsafe)
  return taken;
}

/// A number of digits only, at most `most`.
std::optional<int> to_number(std::string_view text, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool valid = error == std::errc{} && end == text.data() + text.size() && text.front() != '-';
  return valid && number <= most ? std::optional{number} : std::nullopt;
}

std::vector<std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  for (std::size_t end = 0; end != text.npos; text.remove_prefix(end == text.npos ? 0 : end + 1)) {
    end = text.find(':');
    names.emplace_back(text.substr(0, end));
  }
  return names;
}

/// The descriptors become ours, so that whatever fails closes them.
std::vector<Socket> take_descriptors(int count) {
  std::vector<Socket> taken;
  taken.reserve(static_cast<std::size_t>(count));
  for (int fd = first_descriptor; fd < first_descriptor + count; ++fd)
    taken.emplace_back(fd);
  return taken;
}

} // namespace

std::vector<InheritedSocket> inherited_sockets() {
  const auto process = take_variable("LISTEN_PID");
  const auto count_text = take_variable("LISTEN_FDS");
  const auto names_text = take_variable("LISTEN_FDNAMES");
  take_variable("LISTEN_PIDFDID");
  if (!process || !count_text)
    return {};
  const auto pid = to_number(*process, std::numeric_limits<int>::max());
  if (!pid || *pid == 0)
    fail("LISTEN_PID is \"" + escape_bytes(*process) + "\", which is no process id: unset it");
  if (*pid != ::getpid())
    return {};
  const auto count = to_number(*count_text, most_descriptors);
  if (!count)
    fail("LISTEN_FDS is \"" + escape_bytes(*count_text) + "\", which is no count up to " +
         std::to_string(most_descriptors));
  std::vector<std::string> names(static_cast<std::size_t>(*count), "unknown");
  std::vector<Socket> descriptors = take_descriptors(*count);
  if (names_text && *count > 0) {
    auto given = split_names(*names_text);
    if (given.size() != names.size())
      fail("LISTEN_FDNAMES has " + std::to_string(given.size()) + " names for " + *count_text +
           " descriptors: give one for each, with ':' between them");
    names = std::move(given);
  }
  std::vector<InheritedSocket> sockets;
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    const int fd = descriptors[i].fd();
    try {
      sockets.push_back({std::move(names[i]), ListeningSocket{std::move(descriptors[i])}});
    } catch (const std::system_error& error) {
      fail("descriptor " + std::to_string(fd) + ": " + error.what() +
           "; of a systemd unit, use ListenStream= and Accept=no");
    }
  }
  return sockets;
}

std::vector<ListeningSocket> select_inherited(const std::vector<InheritedSocket>& sockets,
                                              const std::string& name_or_index) {
  std::vector<ListeningSocket> selected;
  std::string names;
  for (const InheritedSocket& inherited : sockets) {
    if (inherited.name == name_or_index)
      selected.push_back(inherited.socket);
    names += (names.empty() ? "\"" : ", \"") + escape_bytes(inherited.name) + '"';
  }
  const auto index = to_number(name_or_index, std::numeric_limits<int>::max());
  if (selected.empty() && index && static_cast<std::size_t>(*index) < sockets.size())
    selected.push_back(sockets[static_cast<std::size_t>(*index)].socket);
  if (selected.empty())
    fail("none is named, or has the index, \"" + escape_bytes(name_or_index) + "\"; " +
         (sockets.empty() ? "the process has inherited none (LISTEN_FDS, sd_listen_fds(3))"
                          : "there are " + names));
  return selected;
}

} // namespace squall
