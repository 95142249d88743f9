// SPDX-License-Identifier: BSD-3-Clause
//
// tls_files.cpp
#include "net/tls_files.hpp"

#include "net/regular_file.hpp"
#include "net/tls_context_state.hpp"

#include <openssl/x509.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace squall {

namespace {

/// Whether `name` is one that `openssl rehash` gives: eight digits of a hash, a dot, "r" for a list, a number.
std::optional<bool> is_list_by_name(std::string_view name) noexcept {
  constexpr std::size_t hash_size = 8;
  constexpr std::string_view digits = "0123456789";
  const std::size_t hash = std::min(name.find_first_not_of("0123456789abcdef"), name.size());
  if (hash != hash_size || name.size() == hash || name[hash] != '.')
    return std::nullopt;
  name.remove_prefix(hash + 1);
  const bool is_list = name.starts_with('r');
  name.remove_prefix(is_list ? 1 : 0);
  if (name.empty() || name.find_first_not_of(digits) != std::string_view::npos)
    return std::nullopt;
  return is_list;
}

[[noreturn]] void fail(const std::string& what, const std::string& path, const std::string& why) {
  throw TLSError{"TLS: cannot open the " + what + ' ' + quoted_path(path) + ": " + why +
                 "; check the path and who may read it"};
}

/// As OpenSSL does it: a program with more rights than who started it believes no variable.
std::string from_environment(const char* variable, const char* otherwise) {
  const char* value = ::secure_getenv(variable);
  return value != nullptr ? value : otherwise;
}

} // namespace

bool trusts_system(const TLSOptions& options) noexcept {
  const bool named = !options.ca_file.empty() || !options.ca_pem.empty() || !options.ca_directory.empty();
  return options.system_ca ||
         (!named && options.side == TLSSide::client && !options.insecure_skip_verification);
}

void TLSFiles::read(const TLSOptions& options) {
  read_file("certificate file", options.certificate_file);
  read_file("key file", options.key_file);
  read_file("ca file", options.ca_file);
  read_file("crl file", options.crl_file);
  if (!options.ca_directory.empty())
    read_directory(options.ca_directory, true);
  if (trusts_system(options))
    read_system();
}

void TLSFiles::read(const TLSContext& context) {
  const TLSOptions& options = TLSContextState::of(context).options;
  read(options);
  for (const auto& [name, of_name] : options.server_names)
    read(of_name);
}

/// @throws UnreadableFile
void TLSFiles::read_text(const std::string& path) {
  if (texts_.count(path) > 0)
    return;
  if (before_)
    before_(path);
  texts_.emplace(path, read_regular_file(path, max_tls_file_size));
}

void TLSFiles::read_file(const char* what, const std::string& path) {
  if (path.empty())
    return;
  try {
    read_text(path);
  } catch (const UnreadableFile& error) {
    fail(what, path, error.what());
  }
}

/// @param must  what is in it can be read, but for links whose files have gone
void TLSFiles::read_directory(const std::string& path, bool must) {
  if (directories_.count(path) > 0)
    return;
  if (before_)
    before_(path);
  std::vector<Hashed> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry{path, error}; !error && entry != end(entry);
       entry.increment(error))
    if (const auto is_list = is_list_by_name(entry->path().filename().string()))
      found.push_back({entry->path().string(), *is_list});
  if (error && must)
    fail("ca_directory", path, error.message());
  std::sort(found.begin(), found.end(), [](const Hashed& a, const Hashed& b) { return a.path < b.path; });
  const auto read_one = [&](const Hashed& file) {
    try {
      read_text(file.path);
      return true;
    } catch (const UnreadableFile& unreadable) {
      if (must && unreadable.error() != ENOENT)
        fail("file of the ca_directory", file.path, unreadable.what());
      return false;
    }
  };
  std::erase_if(found, [&](const Hashed& file) { return !read_one(file); });
  directories_.emplace(path, std::move(found));
}

void TLSFiles::read_system() {
  if (std::exchange(system_read_, true))
    return;
  const std::string file = from_environment(X509_get_default_cert_file_env(), X509_get_default_cert_file());
  try {
    read_text(file);
    system_file_ = file;
  } catch (const UnreadableFile&) { // a system may have no such file
  }
  const std::string list = from_environment(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) {
      system_directories_.push_back(list.substr(begin, end - begin));
      read_directory(system_directories_.back(), false);
    }
    begin = end + 1;
  }
}

} // namespace squall
