// SPDX-License-Identifier: BSD-3-Clause
//
// config.cpp: JSON into ServerConfig, and every mistake into a ConfigProblem.
//
// In two steps: the text becomes a tree (config_tree.hpp), and each part of the schema reads its node of it
// (config_reader.hpp). The schema of an entry of "listen" is in
// config_listen.cpp, that of TLS in config_tls.cpp.

#include "actors/config_listen.hpp"
#include "actors/config_tls.hpp"
#include "net/regular_file.hpp"
#include <squall/config.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace squall {

namespace {

constexpr std::size_t max_listen_count = 1024;
constexpr std::uint64_t max_io_threads = 256;
constexpr std::uint64_t max_processes = 1024;
constexpr std::uint64_t most_restarts = 10'000;

// -- the schema

void read_listen(const ConfigValue& value, std::vector<ListenOptions>& target,
                 std::vector<std::optional<TLSContext>>& own_tls) {
  const auto& entries = value.node.members;
  const std::string allowed = "a list of 1 to " + std::to_string(max_listen_count) + " objects";
  if (value.node.kind != ConfigNode::Kind::array || entries.empty())
    return value.refuse(allowed);
  if (entries.size() > max_listen_count)
    value.refuse("a list of " + std::to_string(entries.size()), allowed);
  target.assign(std::min(entries.size(), max_listen_count), {});
  own_tls.assign(target.size(), std::nullopt);
  for (std::size_t i = 0; i < target.size(); ++i)
    read_listener(value.element(i), target[i], own_tls[i]);
}

void read_tcp_seconds(const ConfigValue& value, std::chrono::seconds& target) {
  read_seconds(value, target, std::chrono::hours{9}, "9h");
}

void read_keep_alive(const ConfigValue& value, std::optional<KeepAlive>& target) {
  KeepAlive& keep_alive = target ? *target : target.emplace();
  read_object(value,
              {{"idle", [&](const ConfigValue& v) { read_tcp_seconds(v, keep_alive.idle); }},
               {"interval", [&](const ConfigValue& v) { read_tcp_seconds(v, keep_alive.interval); }},
               {"count", [&](const ConfigValue& v) { read_whole(v, keep_alive.count, 1, 127); }},
               {"user_timeout", [&](const ConfigValue& v) { read_time(v, keep_alive.user_timeout); }}});
}

void read_stream(const ConfigValue& value, StreamOptions& target) {
  read_object(
      value,
      {{"max_buffer_size", [&](const ConfigValue& v) { read_size(v, target.max_buffer_size, 2); }},
       {"default_max_bytes", [&](const ConfigValue& v) { read_size(v, target.default_max_bytes, 0); }},
       {"read_chunk_size", [&](const ConfigValue& v) { read_size(v, target.read_chunk_size, 1); }},
       {"max_write_buffer_size",
        [&](const ConfigValue& v) { read_size(v, target.max_write_buffer_size, 1); }},
       {"write_high_water_mark",
        [&](const ConfigValue& v) { read_size(v, target.write_high_water_mark, 0); }},
       {"write_low_water_mark", [&](const ConfigValue& v) { read_size(v, target.write_low_water_mark, 0); }},
       {"linger_timeout", [&](const ConfigValue& v) { read_time(v, target.linger_timeout); }},
       {"half_close", [&](const ConfigValue& v) { read_bool(v, target.half_close); }},
       {"idle_timeout", [&](const ConfigValue& v) { read_time(v, target.idle_timeout); }},
       {"nodelay", [&](const ConfigValue& v) { read_bool(v, target.nodelay); }},
       {"keep_alive", [&](const ConfigValue& v) { read_keep_alive(v, target.keep_alive); }}});
}

void read_limits(const ConfigValue& value, ListenerLimits& target) {
  using V = ConfigValue;
  constexpr std::uint64_t most_connections = 1'000'000'000;
  std::string answer; ///< of the file
  const std::size_t problems = value.problems.size();
  read_object(
      value,
      {{"max_connections", [&](const V& v) { read_whole(v, target.max_connections, 0, most_connections); }},
       {"max_connections_per_ip",
        [&](const V& v) { read_whole(v, target.max_connections_per_ip, 0, most_connections); }},
       {"max_accept_rate", [&](const V& v) { read_whole(v, target.max_accept_rate, 0, most_connections); }},
       {"accepts_per_turn", [&](const V& v) { read_whole(v, target.accepts_per_turn, 1, 65536); }},
       {"when_full",
        [&](const V& v) {
          read_choice(
              v, target.when_full,
              std::array<Choice<WhenFull>, 3>{
                  {{"queue", WhenFull::queue}, {"reset", WhenFull::reset}, {"answer", WhenFull::answer}}});
        }},
       {"full_answer", [&](const V& v) { read_text(v, answer, "what to send"); }}});
  if (!answer.empty() || target.when_full != WhenFull::answer)
    target.full_answer = Bytes{answer};
  if (target.when_full == WhenFull::answer && target.full_answer.empty() && value.problems.size() == problems)
    value.refuse(R"("when_full": "answer" without "full_answer")", R"("full_answer": what to send)");
  if (target.when_full != WhenFull::answer && !answer.empty() && value.problems.size() == problems)
    value.problems.push_back({value.pointer + "/full_answer",
                              R"("full_answer" without "when_full": "answer")",
                              R"("when_full": "answer" beside it, or neither)"});
}

void read_level(const ConfigValue& value, LogLevel& target) {
  read_choice(value, target,
              std::array<Choice<LogLevel>, 5>{{{"debug", LogLevel::debug},
                                               {"info", LogLevel::info},
                                               {"warning", LogLevel::warning},
                                               {"error", LogLevel::error},
                                               {"off", LogLevel::off}}});
}

void read_format(const ConfigValue& value, LogFormat& target) {
  read_choice(value, target,
              std::array<Choice<LogFormat>, 2>{{{"text", LogFormat::text}, {"json", LogFormat::json}}});
}

void read_log(const ConfigValue& value, LogOptions& target) {
  read_object(value, {{"level", [&](const ConfigValue& v) { read_level(v, target.level); }},
                      {"format", [&](const ConfigValue& v) { read_format(v, target.format); }}});
}

void read_server(const ConfigValue& value, ServerConfig& target) {
  std::optional<TLSContext> tls;
  std::vector<std::optional<TLSContext>> own_tls(target.listen.size());
  using V = ConfigValue;
  read_object(
      value,
      {{"listen", [&](const V& v) { read_listen(v, target.listen, own_tls); }},
       {"tls", [&](const V& v) { read_tls(v, TLSSide::server, tls.emplace()); }},
       {"io_threads",
        [&](const V& v) { read_whole(v, target.io_threads, 0, max_io_threads, " (0: one per core)"); }},
       {"processes",
        [&](const V& v) {
          read_whole(v, target.processes, 0, max_processes, " (0: one per core, 1: no fork)");
        }},
       {"max_restarts", [&](const V& v) { read_whole(v, target.max_restarts, 0, most_restarts); }},
       {"stream", [&](const V& v) { read_stream(v, target.stream); }},
       {"limits", [&](const V& v) { read_limits(v, target.limits); }},
       {"memory_budget", [&](const V& v) { read_size(v, target.memory_budget, 0); }},
       {"drain_timeout", [&](const V& v) { read_time(v, target.drain_timeout); }},
       {"stop_timeout", [&](const V& v) { read_time(v, target.stop_timeout); }},
       {"log", [&](const V& v) { read_log(v, target.log); }}});
  for (std::size_t i = 0; i < target.listen.size(); ++i)
    if (own_tls[i] || tls)
      target.listen[i].accept.tls = own_tls[i] ? *own_tls[i] : *tls;
}

/// Reads a document with `read`; all problems or none.
template <class Read>
void read_whole_document(std::string_view json, const std::string& source, Read read) {
  std::vector<ConfigProblem> problems;
  const ConfigNode root = read_document(json, problems);
  if (problems.empty())
    read(ConfigValue{root, "", problems});
  if (!problems.empty())
    throw ConfigError{source, std::move(problems)};
}

// -- files

ConfigError unreadable(const std::string& path, const std::string& reason) {
  return {path, {{"", "a file that cannot be read (" + reason + ')', "a readable file"}}};
}

std::string read_file(const std::string& path) {
  try {
    return read_regular_file(path, max_document_size);
  } catch (const UnreadableFile& error) {
    throw unreadable(path, error.what());
  }
}

std::string join_lines(const std::string& source, const std::vector<ConfigProblem>& problems) {
  const std::string name = escape_bytes(source, source.size());
  std::string lines;
  for (const ConfigProblem& problem : problems)
    lines += (lines.empty() ? "" : "\n") + name + ": " + to_string(problem);
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

ServerConfig parse_config(std::string_view json, const std::string& source, const ServerConfig& defaults) {
  ServerConfig config = defaults;
  read_whole_document(json, source, [&](const ConfigValue& root) { read_server(root, config); });
  return config;
}

TLSContext parse_tls_context(std::string_view json, TLSSide side, const std::string& source) {
  TLSContext context;
  read_whole_document(json, source, [&](const ConfigValue& root) { read_tls(root, side, context); });
  return context;
}

ServerConfig load_config(const std::string& path, const ServerConfig& defaults) {
  return parse_config(read_file(path), path, defaults);
}

} // namespace squall
