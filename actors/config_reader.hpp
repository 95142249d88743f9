// SPDX-License-Identifier: BSD-3-Clause
//
// config_reader.hpp: reads the values of a configuration's tree, with a problem for each that is not allowed.
#pragma once

#include "actors/config_tree.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace squall {

/// A node, with what is needed to refuse it.
struct ConfigValue {
  const ConfigNode& node;
  std::string pointer;
  std::vector<ConfigProblem>& problems;

  void refuse(std::string found, std::string allowed) const {
    problems.push_back({pointer, std::move(found), std::move(allowed)});
  }
  void refuse(std::string allowed) const { refuse(describe(node), std::move(allowed)); }
  /// Of an array.
  [[nodiscard]] ConfigValue element(std::size_t i) const {
    return {node.members[i].value, pointer + '/' + std::to_string(i), problems};
  }
};

/// A key of an object, and what reads its value.
struct ConfigField {
  std::string_view key;
  std::function<void(const ConfigValue&)> read;
};

/// "a", "b", "c"
template <class Range, class NameOf>
std::string list_names(const Range& range, NameOf name_of) {
  std::string names;
  for (const auto& item : range)
    names += (names.empty() ? "\"" : ", \"") + std::string{name_of(item)} + '"';
  return names;
}

/// Refuses keys that are none of `fields`, and those that stand twice.
void read_object(const ConfigValue& value, std::span<const ConfigField> fields);
inline void read_object(const ConfigValue& value, std::initializer_list<ConfigField> fields) {
  read_object(value, std::span{fields.begin(), fields.size()});
}

template <class T>
void read_whole(const ConfigValue& value, T& target, std::uint64_t min, std::uint64_t max,
                const std::string& note = {}) {
  const auto& whole = value.node.whole;
  if (whole && *whole >= min && *whole <= max)
    target = static_cast<T>(*whole);
  else
    value.refuse("a whole number from " + std::to_string(min) + " to " + std::to_string(max) + note);
}

void read_bool(const ConfigValue& value, bool& target);

/// @param allowed  what the string is: "a path"
void read_text(const ConfigValue& value, std::string& target, const std::string& allowed);

template <class T>
using Choice = std::pair<std::string_view, T>;

template <class T, std::size_t N>
void read_choice(const ConfigValue& value, T& target, const std::array<Choice<T>, N>& choices) {
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

/// Bytes, from `min` to 1 TiB.
void read_size(const ConfigValue& value, std::size_t& target, std::uint64_t min);

/// From `min` to 24 hours.
void read_time(const ConfigValue& value, std::chrono::milliseconds& target,
               std::chrono::milliseconds min = std::chrono::milliseconds{0});

/// Whole seconds from 1 second to `most`, which is `most_text`.
void read_seconds(const ConfigValue& value, std::chrono::seconds& target, std::chrono::seconds most,
                  const std::string& most_text);

} // namespace squall
