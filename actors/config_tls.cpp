// SPDX-License-Identifier: BSD-3-Clause
//
// config_tls.cpp
#include "actors/config_tls.hpp"

#include <map>

namespace squall {

namespace {

void read_path(const ConfigValue& value, std::string& target) {
  if (value.node.kind == ConfigNode::Kind::string && value.node.text.empty())
    value.refuse("a path");
  else
    read_text(value, target, "a path");
}

void read_version(const ConfigValue& value, TLSVersion& target) {
  read_choice(
      value, target,
      std::array<Choice<TLSVersion>, 2>{{{"1.2", TLSVersion::tls_1_2}, {"1.3", TLSVersion::tls_1_3}}});
}

void read_client_certificates(const ConfigValue& value, ClientCertificates& target) {
  read_choice(value, target,
              std::array<Choice<ClientCertificates>, 3>{{{"none", ClientCertificates::none},
                                                         {"request", ClientCertificates::request},
                                                         {"require", ClientCertificates::require}}});
}

void read_unknown_server_name(const ConfigValue& value, UnknownServerName& target) {
  read_choice(value, target,
              std::array<Choice<UnknownServerName>, 2>{
                  {{"use_default", UnknownServerName::use_default}, {"refuse", UnknownServerName::refuse}}});
}

void read_alpn(const ConfigValue& value, std::vector<std::string>& target) {
  if (value.node.kind != ConfigNode::Kind::array || value.node.members.empty())
    return value.refuse(R"(a list of protocols, like ["h2"])");
  target.assign(value.node.members.size(), {});
  for (std::size_t i = 0; i < target.size(); ++i)
    read_text(value.element(i), target[i], "the name of a protocol");
}

void make_context(const ConfigValue& value, const TLSOptions& options, TLSContext& target) {
  const auto refuse = [&](std::string_view reason) {
    if (reason.starts_with("TLS: "))
      reason.remove_prefix(5);
    value.refuse("TLS that cannot be set up (" + std::string{reason} + ')', "what OpenSSL takes");
  };
  try {
    target = TLSContext{options};
  } catch (const TLSError& error) {
    refuse(error.what());
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
}

void read_context(const ConfigValue& value, TLSSide side, bool of_a_name, TLSContext& target);

void read_server_names(const ConfigValue& value, std::map<std::string, TLSContext>& target) {
  if (value.node.kind != ConfigNode::Kind::object || value.node.members.empty())
    return value.refuse("an object with a key for each name, at least one");
  for (const ConfigMember& member : value.node.members) {
    const ConfigValue entry{member.value, value.pointer + pointer_step(member.key), value.problems};
    TLSContext context;
    read_context(entry, TLSSide::server, true, context);
    if (context && !target.emplace(member.key, context).second)
      entry.refuse("the same name again", "each name once");
  }
}

std::vector<ConfigField> common_fields(TLSOptions& options) {
  const std::string names = "names of OpenSSL, separated by \":\"";
  using V = ConfigValue;
  return {{"certificate", [&](const V& v) { read_path(v, options.certificate_file); }},
          {"key", [&](const V& v) { read_path(v, options.key_file); }},
          {"key_password", [&](const V& v) { read_text(v, options.key_password, "the key's password"); }},
          {"ca_file", [&](const V& v) { read_path(v, options.ca_file); }},
          {"ca_directory", [&](const V& v) { read_path(v, options.ca_directory); }},
          {"crl", [&](const V& v) { read_path(v, options.crl_file); }},
          {"system_ca", [&](const V& v) { read_bool(v, options.system_ca); }},
          {"min_version", [&](const V& v) { read_version(v, options.min_version); }},
          {"max_version", [&](const V& v) { read_version(v, options.max_version); }},
          {"ciphers", [&, names](const V& v) { read_text(v, options.ciphers, names); }},
          {"ciphersuites", [&, names](const V& v) { read_text(v, options.ciphersuites, names); }},
          {"alpn", [&](const V& v) { read_alpn(v, options.alpn); }},
          {"ktls", [&](const V& v) { read_bool(v, options.ktls); }}};
}

void add_server_fields(std::vector<ConfigField>& fields, TLSOptions& options) {
  using V = ConfigValue;
  constexpr std::size_t max_cache_size = 1'000'000;
  const std::initializer_list<ConfigField> added = {
      {"client_certificates", [&](const V& v) { read_client_certificates(v, options.client_certificates); }},
      {"session_tickets", [&](const V& v) { read_bool(v, options.session_tickets); }},
      {"session_cache_size",
       [&](const V& v) { read_whole(v, options.session_cache_size, 0, max_cache_size); }},
      {"session_lifetime",
       [&](const V& v) { read_seconds(v, options.session_lifetime, std::chrono::hours{7 * 24}, "168h"); }}};
  fields.insert(fields.end(), added);
}

void add_connection_fields(std::vector<ConfigField>& fields, TLSOptions& options) {
  using V = ConfigValue;
  fields.push_back({"handshake_timeout", [&](const V& v) {
                      read_time(v, options.handshake_timeout, std::chrono::milliseconds{1});
                    }});
  if (options.side == TLSSide::server) {
    fields.push_back({"server_names", [&](const V& v) { read_server_names(v, options.server_names); }});
    fields.push_back({"unknown_server_name",
                      [&](const V& v) { read_unknown_server_name(v, options.unknown_server_name); }});
  } else {
    fields.push_back({"insecure_skip_verification",
                      [&](const V& v) { read_bool(v, options.insecure_skip_verification); }});
    fields.push_back(
        {"insecure_skip_name_check", [&](const V& v) { read_bool(v, options.insecure_skip_name_check); }});
  }
}

/// @param of_a_name  the context of one name of a server, which is chosen when the handshake has begun
void read_context(const ConfigValue& value, TLSSide side, bool of_a_name, TLSContext& target) {
  const std::size_t problems = value.problems.size();
  TLSOptions options;
  options.side = side;
  std::vector<ConfigField> fields = common_fields(options);
  if (side == TLSSide::server)
    add_server_fields(fields, options);
  if (!of_a_name)
    add_connection_fields(fields, options);
  read_object(value, fields);
  if (value.problems.size() > problems)
    return;
  if (side == TLSSide::server && (options.certificate_file.empty() || options.key_file.empty()))
    value.refuse(options.certificate_file.empty() ? "no \"certificate\" in it" : "no \"key\" in it",
                 R"("certificate" and "key", two files in PEM)");
  else
    make_context(value, options, target);
}

} // namespace

void read_tls(const ConfigValue& value, TLSSide side, TLSContext& target) {
  read_context(value, side, false, target);
}

} // namespace squall
