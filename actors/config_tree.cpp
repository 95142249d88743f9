// SPDX-License-Identifier: BSD-3-Clause
//
// config_tree.cpp: from the parser's events to the tree.
#include "actors/config_tree.hpp"

#include <squall/net/log.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace squall {

std::string in_quotes(std::string_view text) { return '"' + escape_bytes(text, 40) + '"'; }

std::string describe(const ConfigNode& node) {
  switch (node.kind) {
  case ConfigNode::Kind::null:
    return "null";
  case ConfigNode::Kind::boolean:
    return node.boolean ? "true" : "false";
  case ConfigNode::Kind::number:
    return escape_bytes(node.text, 40);
  case ConfigNode::Kind::string:
    return in_quotes(node.text);
  case ConfigNode::Kind::array:
    return node.members.empty() ? "an empty list" : "a list";
  case ConfigNode::Kind::object:
    break;
  }
  return "an object";
}

std::string pointer_step(std::string_view key) {
  std::string step = "/";
  for (const char c : key)
    step += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return step;
}

namespace {

constexpr std::string_view bom = "\xef\xbb\xbf";

/// "line 3, column 14" of the byte at `offset`; columns are bytes.
std::string place_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t line_end = before.rfind('\n');
  const std::size_t first_byte = text.starts_with(bom) ? bom.size() : 0;
  const std::size_t line_start = line_end == std::string_view::npos ? first_byte : line_end + 1;
  return "line " + std::to_string(line) + ", column " + std::to_string(offset - line_start + 1);
}

/// Builds the tree. It stops at the first thing that is no JSON, or too deep, and reports it.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
public:
  TreeBuilder(std::string_view text, std::vector<ConfigProblem>& problems)
      : text_{text}, problems_{problems} {}

  ConfigNode take_root() { return std::move(root_); }

  bool null() override {
    add(ConfigNode::Kind::null);
    return true;
  }
  bool boolean(bool value) override {
    add(ConfigNode::Kind::boolean).boolean = value;
    return true;
  }
  bool string(string_t& value) override {
    add(ConfigNode::Kind::string).text = std::move(value);
    return true;
  }
  bool binary(binary_t&) override { return false; } // not in JSON text

  bool number_integer(number_integer_t value) override {
    return value < 0 ? add_number(std::to_string(value)) : number_unsigned(static_cast<std::uint64_t>(value));
  }
  bool number_unsigned(number_unsigned_t value) override { return add_number(std::to_string(value), value); }
  bool number_float(number_float_t, const string_t& written) override { return add_number(written); }

  bool start_object(std::size_t) override { return open(ConfigNode::Kind::object); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(ConfigNode::Kind::array); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    open_.back()->members.push_back({std::move(value), {}});
    return true;
  }

  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    constexpr int number_overflow = 406;
    if (error.id == number_overflow) // a number for the schema to refuse, with whatever came before it
      add_number(token);
    else
      report_syntax(std::min(position, text_.size() + 1) - 1, error.what());
    return false;
  }

private:
  ConfigNode& add(ConfigNode::Kind kind) {
    ConfigNode* node = &root_;
    if (!open_.empty()) {
      ConfigNode& parent = *open_.back();
      if (parent.kind == ConfigNode::Kind::array)
        parent.members.emplace_back();
      node = &parent.members.back().value; // of an object: its key came first
    }
    node->kind = kind;
    return *node;
  }

  bool add_number(const std::string& written, std::optional<std::uint64_t> whole = {}) {
    ConfigNode& node = add(ConfigNode::Kind::number);
    node.text = written;
    node.whole = whole;
    return true;
  }

  bool open(ConfigNode::Kind kind) {
    ConfigNode& node = add(kind);
    if (open_.size() < max_document_depth) {
      open_.push_back(&node);
      return true;
    }
    const std::string most = std::to_string(max_document_depth) + " levels";
    problems_.push_back({pointer_here(), "a value nested more than " + most + " deep", "at most " + most});
    return false;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  /// Of the value that was added last.
  std::string pointer_here() const {
    std::string pointer;
    for (const ConfigNode* node : open_) {
      const std::size_t index = node->members.size() - 1;
      pointer += pointer_step(node->kind == ConfigNode::Kind::array ? std::to_string(index)
                                                                    : node->members[index].key);
    }
    return pointer;
  }

  void report_syntax(std::size_t offset, std::string_view message) {
    const std::string_view here = text_.substr(offset);
    if (message.find("- invalid literal") != std::string_view::npos &&
        (here.starts_with("//") || here.starts_with("/*"))) {
      problems_.push_back({"", "a comment at " + place_of(text_, offset), "JSON, which has no comments"});
      return;
    }
    constexpr std::string_view lead = "syntax error ";
    const std::size_t start = message.find(lead);
    const std::string_view reason =
        start == std::string_view::npos ? message : message.substr(start + lead.size());
    problems_.push_back({"", "a syntax error at " + place_of(text_, offset) + ' ' + escape_bytes(reason, 160),
                         "JSON text in UTF-8"});
  }

  std::string_view text_;
  std::vector<ConfigProblem>& problems_;
  ConfigNode root_;
  std::vector<ConfigNode*> open_; // a node stays where it is while it is the last of its parent
};

/// What can be said without reading: a problem, or none.
std::optional<ConfigProblem> check_text(std::string_view text) {
  if (text.size() > max_document_size)
    return ConfigProblem{"", "a document of more than 1MiB", "at most 1MiB (1048576 bytes)"};
  const std::size_t nul = text.find('\0'); // the parser takes it for the end
  if (nul != std::string_view::npos)
    return ConfigProblem{"", "a NUL byte at " + place_of(text, nul), "JSON text in UTF-8"};
  if (text.find_first_not_of(" \t\r\n", text.starts_with(bom) ? bom.size() : 0) == std::string_view::npos)
    return ConfigProblem{"", "an empty document", "a JSON object; {} when every default will do"};
  return std::nullopt;
}

} // namespace

ConfigNode read_document(std::string_view text, std::vector<ConfigProblem>& problems) {
  if (auto problem = check_text(text)) {
    problems.push_back(*std::move(problem));
    return {};
  }
  TreeBuilder builder{text, problems};
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take_root();
}

} // namespace squall
