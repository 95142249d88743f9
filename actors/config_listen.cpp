// SPDX-License-Identifier: BSD-3-Clause
//
// config_listen.cpp
#include "actors/config_listen.hpp"

#include "actors/config_tls.hpp"
#include "net/regular_file.hpp"
#include "net/socket_file.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace squall {

namespace {

void read_family(const ConfigValue& value, AddressFamily& target) {
  read_choice(
      value, target,
      std::array<Choice<AddressFamily>, 3>{
          {{"unspec", AddressFamily::unspec}, {"ipv4", AddressFamily::ipv4}, {"ipv6", AddressFamily::ipv6}}});
}

void read_own_tls(const ConfigValue& value, std::optional<TLSContext>& own_tls) {
  const bool off = value.node.kind == ConfigNode::Kind::boolean && !value.node.boolean;
  own_tls.emplace();
  if (value.node.kind == ConfigNode::Kind::object)
    read_tls(value, TLSSide::server, *own_tls);
  else if (!off)
    value.refuse("an object, or false for none");
}

void read_unix_path(const ConfigValue& value, std::string& target) {
  try {
    SocketFile::check(value.node.text, 0);
  } catch (const std::invalid_argument&) {
    return value.refuse(R"(a path of 1 to 107 bytes, or "@" and an abstract name, without NUL bytes)");
  }
  // Where the program is now, unless only the shorter form fits.
  const std::string& path = value.node.text;
  const std::string absolute = path.starts_with('@') ? path : absolute_path(path);
  target = absolute.size() <= SocketFile::most_path_bytes ? absolute : path;
  if (value.node.kind != ConfigNode::Kind::string)
    value.refuse("a path: a string");
}

void read_mode(const ConfigValue& value, std::uint32_t& target) {
  const std::string& text = value.node.text;
  std::uint32_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  const bool is_octal = error == std::errc{} && end == text.data() + text.size() && text.front() == '0';
  if (value.node.kind == ConfigNode::Kind::string && is_octal && mode <= 0777)
    target = mode;
  else
    value.refuse(R"(permissions as an octal string, from "0000" to "0777", like "0660")");
}

void read_inherited(const ConfigValue& value, std::string& target) {
  if (value.node.whole)
    target = std::to_string(*value.node.whole);
  else if (value.node.kind == ConfigNode::Kind::string && !value.node.text.empty())
    target = value.node.text;
  else
    value.refuse("the name or the index of a socket that the program is started with");
}

void read_networks(const ConfigValue& value, std::vector<IPNetwork>& target) {
  const std::string allowed =
      R"(networks like "10.0.0.0/8" or "::1", or "unix": who may say where connections come from)";
  if (value.node.kind != ConfigNode::Kind::array || value.node.members.empty())
    return value.refuse("a list of " + allowed);
  for (std::size_t i = 0; i < value.node.members.size(); ++i) {
    const ConfigValue element = value.element(i);
    try {
      if (element.node.kind == ConfigNode::Kind::string)
        target.emplace_back(element.node.text);
      else
        element.refuse(allowed);
    } catch (const std::invalid_argument& error) {
      element.refuse(error.what(), allowed);
    }
  }
}

void read_header_size(const ConfigValue& value, std::size_t& target) {
  constexpr std::size_t most = 16 + 65535;
  std::size_t size = target;
  read_size(value, size, 16);
  if (size > most)
    value.refuse("a size from 16B to " + std::to_string(most) + "B");
  else
    target = size;
}

void read_proxy_protocol(const ConfigValue& value, std::optional<ProxyOptions>& target) {
  ProxyOptions& options = target.emplace();
  bool has_from = false;
  read_object(
      value,
      {{"from",
        [&](const ConfigValue& v) {
          has_from = true;
          read_networks(v, options.from);
        }},
       {"untrusted",
        [&](const ConfigValue& v) {
          read_choice(v, options.untrusted,
                      std::array<Choice<UntrustedPeer>, 2>{
                          {{"refuse", UntrustedPeer::refuse}, {"serve", UntrustedPeer::serve}}});
        }},
       {"timeout", [&](const ConfigValue& v) { read_time(v, options.timeout); }},
       {"max_header_size", [&](const ConfigValue& v) { read_header_size(v, options.max_header_size); }},
       {"max_pending", [&](const ConfigValue& v) { read_whole(v, options.max_pending, 1, 1'000'000); }}});
  if (!has_from && value.node.kind == ConfigNode::Kind::object)
    value.refuse("an object without \"from\"", R"(an object with "from", like {"from": ["127.0.0.1"]})");
}

/// Refuses a list of proxies in which none can be a peer of this kind of socket.
void check_proxies(const ConfigValue& value, const ListenOptions& options) {
  const auto& proxy = options.accept.proxy_protocol;
  if (!proxy || proxy->from.empty() || !options.inherited.empty()) // an inherited socket may be of any kind
    return;
  const bool of_unix = !options.unix_path.empty();
  const Endpoint local{"", 0, AddressFamily::unix_domain};
  const auto fits = [&](const IPNetwork& network) { return network.contains(local) == of_unix; };
  if (std::none_of(proxy->from.begin(), proxy->from.end(), fits))
    value.refuse(of_unix ? R"(a "from" without "unix" for a unix socket, so that no proxy could connect)"
                         : R"(a "from" of nothing but "unix" for an address, so that no proxy could connect)",
                 of_unix ? R"("unix" in "from")" : R"(the addresses or networks of the proxies in "from")");
}

/// Refuses the keys that mean nothing beside the one that says what kind of socket it is.
void check_keys(const ConfigValue& value) {
  const auto& members = value.node.members;
  const auto has = [&](std::string_view key) {
    return std::any_of(members.begin(), members.end(), [&](const ConfigMember& m) { return m.key == key; });
  };
  const std::string_view kind = has("inherited") ? "inherited" : has("unix") ? "unix" : "address";
  const auto refuse_beside = [&](std::initializer_list<std::string_view> keys) {
    for (const std::string_view key : keys)
      if (has(key))
        value.refuse(
            '"' + std::string{key} + "\" beside \"" + std::string{kind} + '"',
            "an entry of one kind: \"address\" and \"port\", \"unix\" and \"mode\", or \"inherited\"");
  };
  if (kind == "inherited")
    refuse_beside({"address", "port", "family", "backlog", "reuse_port", "unix", "mode"});
  else if (kind == "unix")
    refuse_beside({"address", "port", "family", "reuse_port"});
  else
    refuse_beside({"mode"});
}

} // namespace

void read_listener(const ConfigValue& value, ListenOptions& target, std::optional<TLSContext>& own_tls) {
  using V = ConfigValue;
  const std::size_t problems = value.problems.size();
  read_object(
      value, {{"address", [&](const V& v) { read_text(v, target.address, "an address or a host name"); }},
              {"port", [&](const V& v) { read_whole(v, target.port, 0, 65535, " (0: the system chooses)"); }},
              {"family", [&](const V& v) { read_family(v, target.bind.family); }},
              {"backlog", [&](const V& v) { read_whole(v, target.bind.backlog, 1, 65535); }},
              {"reuse_port", [&](const V& v) { read_bool(v, target.bind.reuse_port); }},
              {"unix", [&](const V& v) { read_unix_path(v, target.unix_path); }},
              {"mode", [&](const V& v) { read_mode(v, target.mode); }},
              {"inherited", [&](const V& v) { read_inherited(v, target.inherited); }},
              {"tls", [&](const V& v) { read_own_tls(v, own_tls); }},
              {"proxy_protocol", [&](const V& v) { read_proxy_protocol(v, target.accept.proxy_protocol); }}});
  check_keys(value);
  if (value.problems.size() == problems) // else it may be of another kind, or more proxies were meant
    check_proxies(value, target);
}

std::vector<ListeningSocket> bind_sockets(const ListenOptions& entry,
                                          const std::vector<InheritedSocket>& inherited) {
  if (!entry.inherited.empty())
    return select_inherited(inherited, entry.inherited);
  if (!entry.unix_path.empty())
    return {bind_unix_socket(entry.unix_path, {.mode = entry.mode, .backlog = entry.bind.backlog})};
  return bind_sockets(entry.port, entry.address, entry.bind);
}

} // namespace squall
