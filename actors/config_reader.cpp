// SPDX-License-Identifier: BSD-3-Clause
//
// config_reader.cpp
#include "actors/config_reader.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>

namespace squall {

namespace {

constexpr std::uint64_t max_size = std::uint64_t{1} << 40;
constexpr std::uint64_t max_time = std::uint64_t{24} * 60 * 60 * 1000; // milliseconds

static_assert(max_size <= std::numeric_limits<std::size_t>::max(), "sizes up to 1TiB need 64 bits");

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

/// The nearest known key when one is near: at most one edit for each three letters.
std::string suggest_key(std::string_view key, std::span<const ConfigField> fields) {
  const ConfigField* nearest = nullptr;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const ConfigField& field : fields) {
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
  return "one of " + list_names(fields, [](const ConfigField& field) { return field.key; });
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
std::optional<std::uint64_t> read_quantity(const ConfigValue& value, std::span<const Unit> units,
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

} // namespace

void read_object(const ConfigValue& value, std::span<const ConfigField> fields) {
  if (value.node.kind != ConfigNode::Kind::object)
    return value.refuse("an object");
  std::set<std::string_view> seen;
  for (const ConfigMember& entry : value.node.members) {
    const ConfigValue member{entry.value, value.pointer + pointer_step(entry.key), value.problems};
    const auto is_named = [&](const ConfigField& field) { return field.key == entry.key; };
    if (!seen.insert(entry.key).second)
      member.refuse("the same key again", "each key once");
    if (const auto field = std::find_if(fields.begin(), fields.end(), is_named); field != fields.end())
      field->read(member);
    else
      member.refuse("an unknown key", suggest_key(entry.key, fields));
  }
}

void read_bool(const ConfigValue& value, bool& target) {
  if (value.node.kind == ConfigNode::Kind::boolean)
    target = value.node.boolean;
  else
    value.refuse("true or false");
}

void read_text(const ConfigValue& value, std::string& target, const std::string& allowed) {
  if (value.node.kind == ConfigNode::Kind::string && value.node.text.find('\0') == std::string::npos)
    target = value.node.text;
  else
    value.refuse(allowed + ": a string without NUL bytes");
}

void read_size(const ConfigValue& value, std::size_t& target, std::uint64_t min) {
  const std::string allowed = "a size from " + std::to_string(min) + "B to 1TiB: a whole number of bytes, " +
                              R"(or a string with one of the units B, KiB, MiB, GiB, TiB, like "64KiB")";
  const bool is_string = value.node.kind == ConfigNode::Kind::string;
  const auto size = is_string ? read_quantity(value, size_units, allowed) : value.node.whole;
  if (size && *size >= min && *size <= max_size)
    target = static_cast<std::size_t>(*size);
  else if (size || !is_string)
    value.refuse(allowed);
}

void read_time(const ConfigValue& value, std::chrono::milliseconds& target, std::chrono::milliseconds min) {
  const std::string allowed =
      "a time from \"" + std::to_string(min.count()) +
      R"(ms" to "24h": a string with one of the units ms, s, m, h, like "250ms" or "10s")";
  if (value.node.kind == ConfigNode::Kind::number)
    return value.refuse(describe(value.node) + " without a unit", allowed);
  if (value.node.kind != ConfigNode::Kind::string)
    return value.refuse(allowed);
  const auto time = read_quantity(value, time_units, allowed);
  if (time && *time <= max_time && *time >= static_cast<std::uint64_t>(min.count()))
    target = std::chrono::milliseconds{*time};
  else if (time)
    value.refuse(allowed);
}

void read_seconds(const ConfigValue& value, std::chrono::seconds& target, std::chrono::seconds most,
                  const std::string& most_text) {
  const std::string allowed = "whole seconds from \"1s\" to \"" + most_text +
                              R"(": a string with one of the units ms, s, m, h, like "60s" or "2m")";
  constexpr std::uint64_t second = 1000;
  std::optional<std::uint64_t> time;
  if (value.node.kind == ConfigNode::Kind::string) {
    time = read_quantity(value, time_units, allowed);
    if (!time)
      return;
  }
  if (time && *time >= second && *time <= static_cast<std::uint64_t>(most.count()) * second &&
      *time % second == 0)
    target = std::chrono::seconds{*time / second};
  else
    value.refuse(allowed);
}

} // namespace squall
