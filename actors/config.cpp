// SPDX-License-Identifier: BSD-3-Clause
//
// config.cpp: JSON into ServerConfig, and every mistake into a ConfigProblem.
//
// In two steps: the text becomes a tree (config_tree.hpp), and each part of the schema reads its node of it.

#include "actors/config_tree.hpp"
#include <squall/config.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <utility>

namespace squall {

namespace {

constexpr std::size_t max_listen_count = 1024;
constexpr std::uint64_t max_io_threads = 256;
constexpr std::uint64_t max_processes = 1024;
constexpr std::uint64_t max_max_restarts = 10'000;
constexpr std::uint64_t max_size = std::uint64_t{1} << 40;
constexpr std::uint64_t max_time = std::uint64_t{24} * 60 * 60 * 1000; // milliseconds

static_assert(max_size <= std::numeric_limits<std::size_t>::max(), "sizes up to 1TiB need 64 bits");

// -- from the tree to values

/// A node, with what is needed to refuse it.
struct Value {
  const ConfigNode& node;
  std::string pointer;
  std::vector<ConfigProblem>& problems;

  void refuse(std::string found, std::string allowed) const {
    problems.push_back({pointer, std::move(found), std::move(allowed)});
  }
  void refuse(std::string allowed) const { refuse(describe(node), std::move(allowed)); }
};

/// A key of an object, and what reads its value.
struct Field {
  std::string_view key;
  std::function<void(const Value&)> read;
};

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// How many letters to insert, drop, replace or swap make `b` of `a`; case does not count.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last;
  std::vector<std::size_t> last(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::vector<std::size_t> row(b.size() + 1, i);
    for (std::size_t k = 1; k <= b.size(); ++k) {
      const bool same = lower(a[i - 1]) == lower(b[k - 1]);
      row[k] = std::min({last[k] + 1, row[k - 1] + 1, last[k - 1] + (same ? 0 : 1)});
      if (i > 1 && k > 1 && lower(a[i - 1]) == lower(b[k - 2]) && lower(a[i - 2]) == lower(b[k - 1]))
        row[k] = std::min(row[k], before_last[k - 2] + 1);
    }
    before_last = std::exchange(last, std::move(row));
  }
  return last.back();
}

/// "a", "b", "c"
template <class Range, class NameOf>
std::string list_names(const Range& range, NameOf name_of) {
  std::string names;
  for (const auto& item : range)
    names += (names.empty() ? "\"" : ", \"") + std::string{name_of(item)} + '"';
  return names;
}

/// The nearest known key when one is near: at most one edit for each three letters.
std::string suggest_key(std::string_view key, std::span<const Field> fields) {
  const Field* nearest = nullptr;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const Field& field : fields) {
    if (key.size() > 2 * field.key.size()) // too far away to be worth the look
      continue;
    const std::size_t distance = edit_distance(key, field.key);
    if (distance < least && distance <= field.key.size() / 3) {
      nearest = &field;
      least = distance;
    }
  }
  if (nearest != nullptr)
    return '"' + std::string{nearest->key} + "\", the nearest known key";
  return "one of " + list_names(fields, [](const Field& field) { return field.key; });
}

void read_object(const Value& value, std::initializer_list<Field> fields) {
  if (value.node.kind != ConfigNode::Kind::object)
    return value.refuse("an object");
  std::set<std::string_view> seen;
  for (const ConfigMember& entry : value.node.members) {
    const Value member{entry.value, value.pointer + pointer_step(entry.key), value.problems};
    const auto is_named = [&](const Field& field) { return field.key == entry.key; };
    if (!seen.insert(entry.key).second)
      member.refuse("the same key again", "each key once");
    if (const auto field = std::find_if(fields.begin(), fields.end(), is_named); field != fields.end())
      field->read(member);
    else
      member.refuse("an unknown key", suggest_key(entry.key, fields));
  }
}

template <class T>
void read_whole(const Value& value, T& target, std::uint64_t min, std::uint64_t max,
                const std::string& note = {}) {
  const auto& whole = value.node.whole;
  if (whole && *whole >= min && *whole <= max)
    target = static_cast<T>(*whole);
  else
    value.refuse("a whole number from " + std::to_string(min) + " to " + std::to_string(max) + note);
}

void read_bool(const Value& value, bool& target) {
  if (value.node.kind == ConfigNode::Kind::boolean)
    target = value.node.boolean;
  else
    value.refuse("true or false");
}

template <class T>
using Choice = std::pair<std::string_view, T>;

template <class T, std::size_t N>
void read_choice(const Value& value, T& target, const std::array<Choice<T>, N>& choices) {
  if (value.node.kind == ConfigNode::Kind::string) {
    for (const auto& [name, choice] : choices) {
      if (name == value.node.text) {
        target = choice;
        return;
      }
    }
  }
  value.refuse("one of " + list_names(choices, [](const Choice<T>& choice) { return choice.first; }));
}

using Unit = std::pair<std::string_view, std::uint64_t>;

constexpr std::array<Unit, 5> size_units{{{"B", 1},
                                          {"KiB", std::uint64_t{1} << 10},
                                          {"MiB", std::uint64_t{1} << 20},
                                          {"GiB", std::uint64_t{1} << 30},
                                          {"TiB", std::uint64_t{1} << 40}}};
constexpr std::array<Unit, 4> time_units{{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};

bool is_letter(char c) noexcept { return lower(c) >= 'a' && lower(c) <= 'z'; }

/// The string "64KiB" in its smallest unit; the greatest number for all that is greater. None: refused
/// already.
std::optional<std::uint64_t> read_quantity(const Value& value, std::span<const Unit> units,
                                           const std::string& allowed) {
  constexpr std::uint64_t greatest = std::numeric_limits<std::uint64_t>::max();
  const std::string_view text = value.node.text;
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view name = text.substr(static_cast<std::size_t>(end - text.data()));
  const auto unit = std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.first == name; });
  if (error == std::errc::invalid_argument || !std::all_of(name.begin(), name.end(), is_letter))
    value.refuse(allowed);
  else if (name.empty())
    value.refuse(in_quotes(text) + " without a unit", allowed);
  else if (unit == units.end())
    value.refuse("the unknown unit " + in_quotes(name) + " in " + in_quotes(text), allowed);
  else
    return error == std::errc{} && count <= greatest / unit->second ? count * unit->second : greatest;
  return std::nullopt;
}

void read_size(const Value& value, std::size_t& target, std::uint64_t min) {
  const std::string allowed = "a size from " + std::to_string(min) + "B to 1TiB: a whole number of bytes, " +
                              R"(or a string with one of the units B, KiB, MiB, GiB, TiB, like "64KiB")";
  const bool is_string = value.node.kind == ConfigNode::Kind::string;
  const auto size = is_string ? read_quantity(value, size_units, allowed) : value.node.whole;
  if (size && *size >= min && *size <= max_size)
    target = static_cast<std::size_t>(*size);
  else if (size || !is_string)
    value.refuse(allowed);
}

void read_time(const Value& value, std::chrono::milliseconds& target) {
  const std::string allowed =
      R"(a time from "0ms" to "24h": a string with one of the units ms, s, m, h, like "250ms" or "10s")";
  if (value.node.kind == ConfigNode::Kind::number)
    return value.refuse(describe(value.node) + " without a unit", allowed);
  if (value.node.kind != ConfigNode::Kind::string)
    return value.refuse(allowed);
  const auto time = read_quantity(value, time_units, allowed);
  if (time && *time <= max_time)
    target = std::chrono::milliseconds{*time};
  else if (time)
    value.refuse(allowed);
}

// -- the schema

void read_address(const Value& value, std::string& target) {
  if (value.node.kind == ConfigNode::Kind::string && value.node.text.find('\0') == std::string::npos)
    target = value.node.text;
  else
    value.refuse("an address or a host name: a string without NUL bytes");
}

void read_family(const Value& value, AddressFamily& target) {
  read_choice(
      value, target,
      std::array<Choice<AddressFamily>, 3>{
          {{"unspec", AddressFamily::unspec}, {"ipv4", AddressFamily::ipv4}, {"ipv6", AddressFamily::ipv6}}});
}

void read_listener(const Value& value, ListenOptions& target) {
  read_object(
      value,
      {{"address", [&](const Value& v) { read_address(v, target.address); }},
       {"port", [&](const Value& v) { read_whole(v, target.port, 0, 65535, " (0: the system chooses)"); }},
       {"family", [&](const Value& v) { read_family(v, target.bind.family); }},
       {"backlog", [&](const Value& v) { read_whole(v, target.bind.backlog, 1, 65535); }},
       {"reuse_port", [&](const Value& v) { read_bool(v, target.bind.reuse_port); }}});
}

void read_listen(const Value& value, std::vector<ListenOptions>& target) {
  const auto& entries = value.node.members;
  const std::string allowed = "a list of 1 to " + std::to_string(max_listen_count) + " objects";
  if (value.node.kind != ConfigNode::Kind::array || entries.empty())
    return value.refuse(allowed);
  if (entries.size() > max_listen_count)
    value.refuse("a list of " + std::to_string(entries.size()), allowed);
  target.assign(std::min(entries.size(), max_listen_count), {});
  for (std::size_t i = 0; i < target.size(); ++i)
    read_listener({entries[i].value, value.pointer + '/' + std::to_string(i), value.problems}, target[i]);
}

/// A time that TCP takes in whole seconds.
void read_seconds(const Value& value, std::chrono::seconds& target) {
  const std::string allowed =
      R"(whole seconds from "1s" to "9h": a string with one of the units ms, s, m, h, like "60s" or "2m")";
  constexpr std::uint64_t second = 1000;
  constexpr std::uint64_t greatest = 9 * 3600 * second;
  std::optional<std::uint64_t> time;
  if (value.node.kind == ConfigNode::Kind::string) {
    time = read_quantity(value, time_units, allowed);
    if (!time)
      return;
  }
  if (time && *time >= second && *time <= greatest && *time % second == 0)
    target = std::chrono::seconds{*time / second};
  else
    value.refuse(allowed);
}

void read_keep_alive(const Value& value, std::optional<KeepAlive>& target) {
  KeepAlive& keep_alive = target.emplace();
  read_object(value, {{"idle", [&](const Value& v) { read_seconds(v, keep_alive.idle); }},
                      {"interval", [&](const Value& v) { read_seconds(v, keep_alive.interval); }},
                      {"count", [&](const Value& v) { read_whole(v, keep_alive.count, 1, 127); }},
                      {"user_timeout", [&](const Value& v) { read_time(v, keep_alive.user_timeout); }}});
}

void read_stream(const Value& value, StreamOptions& target) {
  read_object(
      value,
      {{"max_buffer_size", [&](const Value& v) { read_size(v, target.max_buffer_size, 2); }},
       {"default_max_bytes", [&](const Value& v) { read_size(v, target.default_max_bytes, 0); }},
       {"read_chunk_size", [&](const Value& v) { read_size(v, target.read_chunk_size, 1); }},
       {"max_write_buffer_size", [&](const Value& v) { read_size(v, target.max_write_buffer_size, 1); }},
       {"write_high_water_mark", [&](const Value& v) { read_size(v, target.write_high_water_mark, 0); }},
       {"write_low_water_mark", [&](const Value& v) { read_size(v, target.write_low_water_mark, 0); }},
       {"linger_timeout", [&](const Value& v) { read_time(v, target.linger_timeout); }},
       {"half_close", [&](const Value& v) { read_bool(v, target.half_close); }},
       {"idle_timeout", [&](const Value& v) { read_time(v, target.idle_timeout); }},
       {"nodelay", [&](const Value& v) { read_bool(v, target.nodelay); }},
       {"keep_alive", [&](const Value& v) { read_keep_alive(v, target.keep_alive); }}});
}

void read_level(const Value& value, LogLevel& target) {
  read_choice(value, target,
              std::array<Choice<LogLevel>, 5>{{{"debug", LogLevel::debug},
                                               {"info", LogLevel::info},
                                               {"warning", LogLevel::warning},
                                               {"error", LogLevel::error},
                                               {"off", LogLevel::off}}});
}

void read_format(const Value& value, LogFormat& target) {
  read_choice(value, target,
              std::array<Choice<LogFormat>, 2>{{{"text", LogFormat::text}, {"json", LogFormat::json}}});
}

void read_log(const Value& value, LogOptions& target) {
  read_object(value, {{"level", [&](const Value& v) { read_level(v, target.level); }},
                      {"format", [&](const Value& v) { read_format(v, target.format); }}});
}

void read_server(const Value& value, ServerConfig& target) {
  read_object(
      value,
      {{"listen", [&](const Value& v) { read_listen(v, target.listen); }},
       {"io_threads",
        [&](const Value& v) { read_whole(v, target.io_threads, 0, max_io_threads, " (0: one per core)"); }},
       {"processes",
        [&](const Value& v) {
          read_whole(v, target.processes, 0, max_processes, " (0: one per core, 1: no fork)");
        }},
       {"max_restarts", [&](const Value& v) { read_whole(v, target.max_restarts, 0, max_max_restarts); }},
       {"stream", [&](const Value& v) { read_stream(v, target.stream); }},
       {"log", [&](const Value& v) { read_log(v, target.log); }}});
}

// -- files

ConfigError unreadable(const std::string& path, const std::string& reason) {
  return {path, {{"", "a file that cannot be read (" + reason + ')', "a readable file"}}};
}

std::string system_failure(const char* call) {
  return std::string{call} + ": " + std::generic_category().message(errno);
}

/// At most one byte more than a configuration may have, so that an endless file ends.
std::string read_file(const std::string& path) {
  if (path.find('\0') != std::string::npos)
    throw unreadable(path, "its name has a NUL byte");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "re"), &std::fclose};
  if (!file)
    throw unreadable(path, system_failure("fopen"));
  std::string text(max_document_size + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0)
    throw unreadable(path, system_failure("fread"));
  return text;
}

std::string join_lines(const std::string& source, const std::vector<ConfigProblem>& problems) {
  std::string lines;
  for (const ConfigProblem& problem : problems)
    lines += (lines.empty() ? "" : "\n") + source + ": " + to_string(problem);
  return lines;
}

} // namespace

std::string to_string(const ConfigProblem& problem) {
  const std::string where = problem.pointer.empty() ? "" : escape_bytes(problem.pointer) + ": ";
  return where + "found " + problem.found + ", allowed: " + problem.allowed;
}

ConfigError::ConfigError(const std::string& source, std::vector<ConfigProblem> problems)
    : std::runtime_error{join_lines(source, problems)},
      problems_{std::make_shared<const std::vector<ConfigProblem>>(std::move(problems))} {}

ServerConfig parse_config(std::string_view json, const std::string& source) {
  std::vector<ConfigProblem> problems;
  ServerConfig config;
  const ConfigNode root = read_document(json, problems);
  if (problems.empty())
    read_server({root, "", problems}, config);
  if (!problems.empty())
    throw ConfigError{source, std::move(problems)};
  return config;
}

ServerConfig load_config(const std::string& path) { return parse_config(read_file(path), path); }

} // namespace squall
