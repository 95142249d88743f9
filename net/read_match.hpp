// SPDX-License-Identifier: BSD-3-Clause
//
// read_match.hpp: decides when a read is satisfied, and by how many bytes; second of a stream's four parts.
//
// A matcher sees the unread bytes grow and remembers how far it has searched, so that its total cost is linear in
// the bytes however they arrive (the quadratic alternative: CVE-2024-52804). It holds no bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include <squall/net/errors.hpp>
#include <squall/net/stream_requests.hpp>

namespace squall {

class ReadMatch {
public:
  /// What a search found.
  struct Outcome {
    enum class Kind : unsigned char {
      satisfied,     ///< by the first `size` unread bytes
      wants_more,    ///< than is unread
      unsatisfiable, ///< the match cannot end within max_bytes any more
    };
    Kind kind;
    std::size_t size = 0;
  };

  /// The reason why `request` can never work on a stream that keeps at most `max_buffer_size` bytes, if there is one.
  static std::optional<StreamErrc> check(const ReadRequest& request, std::size_t max_buffer_size) noexcept;

  /// Begins to match `request`, which check() has let pass.
  void start(ReadRequest request) noexcept;

  /// Looks at all unread bytes; between two calls they may only have grown at their end.
  [[nodiscard]] Outcome find(std::string_view unread);

  /// What the read makes of the end of input, after find() wanted more: with a read_until_close, all that is unread.
  [[nodiscard]] bool satisfied_by_end() const noexcept { return std::holds_alternative<ReadUntilClose>(request_); }

private:
  Outcome find_delimiter(const ReadUntil& request, std::string_view unread);

  ReadRequest request_;
  std::size_t searched_ = 0; ///< a delimiter does not begin before this position
};

} // namespace squall
