// SPDX-License-Identifier: BSD-3-Clause
//
// config_tree.hpp: JSON text as a small tree that keeps what a usual JSON value loses: keys that stand twice,
// numbers as they are written.
//
// Depth and size are bounded before there is a tree, so that the recursion over it is, too.
#pragma once

#include <squall/config.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace squall {

inline constexpr std::size_t max_document_size = std::size_t{1024} * 1024; ///< bytes
inline constexpr std::size_t max_document_depth = 32;

struct ConfigMember;

struct ConfigNode {
  enum class Kind : std::uint8_t { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  std::optional<std::uint64_t> whole; ///< of a number that is whole, not negative and fits
  std::string text;                   ///< of a string; of a number, as written
  std::vector<ConfigMember> members;  ///< of an object, in its order; of an array, without keys
};

struct ConfigMember {
  std::string key;
  ConfigNode value;
};

/// `text` in quotes, fit for a message.
std::string in_quotes(std::string_view text);

/// What `node` is, for a message.
std::string describe(const ConfigNode& node);

/// `key` as the last step of a JSON pointer (RFC 6901).
std::string pointer_step(std::string_view key);

/// The tree of a document. What is no JSON, too deep or too large becomes a problem; then the tree means
/// nothing.
ConfigNode read_document(std::string_view text, std::vector<ConfigProblem>& problems);

} // namespace squall
