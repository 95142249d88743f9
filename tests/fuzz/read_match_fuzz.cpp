// SPDX-License-Identifier: BSD-3-Clause
//
// read_match_fuzz.cpp: any read, over any bytes, in any pieces, ends as a plain search of all the bytes says.
#include "net/read_match.hpp"
#include "tests/fuzz/require.hpp"
#include "tests/net/regex_support.hpp"

#include <algorithm>
#include <fuzzer/FuzzedDataProvider.h>

namespace squall {
namespace {

using Kind = ReadMatch::Outcome::Kind;

/// No search of these patterns takes long in RE2, which does it anew for each end.
constexpr std::size_t greatest_input = 256;

const std::vector<Regex>& regexes() {
  static const std::vector<Regex> all{Regex{"\\r?\\n"},        Regex{"\\r?\\n\\r?\\n"},
                                      Regex{"a.*b"},           Regex{"(?s)a.*b"},
                                      Regex{" [^\\n]*\\n\\n"}, Regex{"[a-z]+\\d+\\r\\n"},
                                      Regex{"(a|ab)(c|bcd)"},  Regex{"^ab"},
                                      Regex{"(?m)^a[^b]*b"},   Regex{"(?i)ab{2,}c"},
                                      Regex{"a.{12}b"},        Regex{"(a|b)*a(a|b){20}c"},
                                      Regex{"\\d{1,3};"},      Regex{"(ab|b*a){2,3}?[^c]c"},
                                      Regex{"\\x00+\\xff"}};
  return all;
}

/// Where the bytes that the read waits for end, by the definition, whatever its limit.
std::optional<std::size_t> end_of(const ReadRequest& request, const std::string& input) {
  if (const auto* until = std::get_if<ReadUntil>(&request)) {
    const std::size_t found = input.find(until->delimiter);
    return found == input.npos ? std::nullopt : std::optional{found + until->delimiter.size()};
  }
  if (const auto* match = std::get_if<ReadUntilRegex>(&request))
    return first_end(match->regex.pattern(), input);
  if (const auto* bytes = std::get_if<ReadBytes>(&request))
    return bytes->num_bytes;
  if (const auto* peek = std::get_if<Peek>(&request))
    return peek->num_bytes;
  return std::nullopt;
}

struct Limits {
  std::optional<std::size_t> max_bytes;
  std::size_t max_buffer_size = 0;

  /// Of the reads that search; the others are refused beforehand.
  [[nodiscard]] std::size_t of(const ReadRequest& request) const {
    const bool searches =
        std::holds_alternative<ReadUntil>(request) || std::holds_alternative<ReadUntilRegex>(request);
    return searches ? std::min(max_bytes.value_or(max_buffer_size), max_buffer_size) : std::string::npos;
  }
};

ReadRequest any_request(FuzzedDataProvider& data, const Limits& limits) {
  const auto size = [&] { return data.ConsumeIntegralInRange<std::size_t>(0, greatest_input); };
  switch (data.ConsumeIntegralInRange(0, 5)) {
  case 0:
    return ReadBytes{size()};
  case 1:
    return ReadBytes{size(), true};
  case 2:
    return ReadUntil{data.ConsumeRandomLengthString(8), limits.max_bytes};
  case 3:
    return ReadUntilRegex{regexes()[data.ConsumeIntegralInRange<std::size_t>(0, regexes().size() - 1)],
                          limits.max_bytes};
  case 4:
    return Peek{size()};
  default:
    return ReadUntilClose{};
  }
}

/// Whether the read may begin; that it is refused as it should.
bool is_accepted(const ReadRequest& request, std::size_t max_buffer_size) {
  std::optional<StreamErrc> wanted;
  const auto* bytes = std::get_if<ReadBytes>(&request);
  const auto* peek = std::get_if<Peek>(&request);
  const auto* until = std::get_if<ReadUntil>(&request);
  if ((bytes && !bytes->partial && bytes->num_bytes > max_buffer_size) ||
      (peek && peek->num_bytes > max_buffer_size))
    wanted = StreamErrc::buffer_full;
  else if (until && until->delimiter.empty())
    wanted = StreamErrc::invalid_argument;
  require(ReadMatch::check(request, max_buffer_size) == wanted, "check() refuses what can never work");
  return !wanted;
}

void check_read(FuzzedDataProvider& data) {
  const auto size = [&] { return data.ConsumeIntegralInRange<std::size_t>(0, greatest_input); };
  Limits limits;
  if (data.ConsumeBool())
    limits.max_bytes = size();
  limits.max_buffer_size = size();
  const ReadRequest request = any_request(data, limits);
  if (!is_accepted(request, limits.max_buffer_size))
    return;
  std::vector<std::size_t> pieces(data.ConsumeIntegralInRange<std::size_t>(0, 16));
  for (std::size_t& piece : pieces)
    piece = data.ConsumeIntegralInRange<std::size_t>(0, 32);
  const std::string input = data.ConsumeRemainingBytesAsString().substr(0, greatest_input);
  pieces.push_back(input.size());

  const std::optional<std::size_t> end = end_of(request, input);
  const std::size_t limit = limits.of(request);
  const auto* bytes = std::get_if<ReadBytes>(&request);
  const bool partial = bytes != nullptr && bytes->partial;
  ReadMatch matcher;
  matcher.start(ReadRequest{request}, limits.max_buffer_size);
  std::size_t arrived = 0;
  for (const std::size_t piece : pieces) {
    arrived = std::min(arrived + piece, input.size());
    ReadMatch::Outcome wanted{Kind::wants_more};
    if (end && *end <= std::min(arrived, limit))
      wanted = {Kind::satisfied, *end};
    else if (partial && arrived > 0)
      wanted = {Kind::satisfied, arrived};
    else if (arrived > limit)
      wanted = {Kind::unsatisfiable};
    const std::vector<char> unread(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(arrived));
    const ReadMatch::Outcome outcome = matcher.find({unread.data(), unread.size()});
    require(outcome.kind == wanted.kind, "the outcome is that of a search of all bytes");
    require(outcome.size == wanted.size, "the size is that of a search of all bytes");
    if (outcome.kind != Kind::wants_more)
      break;
  }
  const bool own_limit = limits.max_bytes && *limits.max_bytes <= limits.max_buffer_size;
  if (limit != std::string::npos)
    require(matcher.limit_error() == (own_limit ? StreamErrc::unsatisfiable_read : StreamErrc::buffer_full),
            "the limit that was passed is the smaller one");
  require(matcher.peeks() == std::holds_alternative<Peek>(request), "only Peek peeks");
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider provider{data, size};
  squall::check_read(provider);
  return 0;
}
