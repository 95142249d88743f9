// SPDX-License-Identifier: BSD-3-Clause
//
// read_match.hpp: decides when a read is satisfied, and by how many bytes; second of a stream's four parts.
//
// A matcher sees the unread bytes grow and remembers how far it has searched, so that its total cost is
// linear in the bytes however they arrive (the quadratic alternative: CVE-2024-52804). It holds no bytes.
#pragma once

#include <squall/net/errors.hpp>
#include <squall/net/stream_requests.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace squall {

class ReadMatch {
public:
  /// What a search found.
  struct Outcome {
    enum class Kind : unsigned char {
      satisfied,     ///< by the first `size` unread bytes
      wants_more,    ///< than is unread
      unsatisfiable, ///< no match can end within max_bytes any more
    };
    Kind kind;
    std::size_t size = 0;
  };

  /// The reason why `request` can never work on a stream that keeps at most `max_buffer_size` bytes, if there
  /// is one.
  static std::optional<StreamErrc> check(const ReadRequest& request, std::size_t max_buffer_size) noexcept;

  /// Begins to match `request`, which check() has let pass. A match must end within `max_buffer_size`, too.
  /// @throws std::bad_alloc where a long delimiter is to be prepared
  void start(ReadRequest&& request, std::size_t max_buffer_size);

  /// Looks at all unread bytes; between two calls they may only have grown at their end.
  [[nodiscard]] Outcome find(std::string_view unread);

  /// The satisfied read leaves its bytes unread.
  [[nodiscard]] bool peeks() const noexcept { return std::holds_alternative<Peek>(request_); }
  /// The end of input satisfies the read, after find() wanted more.
  [[nodiscard]] bool satisfied_by_end() const noexcept {
    return std::holds_alternative<ReadUntilClose>(request_);
  }
  /// The buffer of a ReadInto, else null.
  [[nodiscard]] ReadInto* into() noexcept { return std::get_if<ReadInto>(&request_); }
  /// Lets the buffer of a ReadInto that is over go; empty where there is none.
  [[nodiscard]] MutableBytes release_buffer() noexcept {
    ReadInto* over = into();
    return over != nullptr ? std::exchange(over->buffer, MutableBytes{}) : MutableBytes{};
  }

  /// The read, for people: "read_until "\n"".
  [[nodiscard]] std::string describe() const;

  /// What an unsatisfiable read fails with, and whether its stream closes.
  [[nodiscard]] StreamErrc limit_error() const noexcept { return limit_error_; }
  [[nodiscard]] LimitPolicy limit_policy() const noexcept { return limit_policy_; }

private:
  template <class Request>
  void bound(Request& request, std::size_t max_buffer_size) noexcept;
  Outcome find_delimiter(const ReadUntil& request, std::string_view unread);
  std::size_t find_long_delimiter(std::string_view delimiter, std::string_view window) noexcept;
  Outcome find_match(const ReadUntilRegex& request, std::string_view unread);

  /// Of a long delimiter: how its first bytes occur in itself, and how many of them end what was searched.
  struct Borders {
    explicit Borders(std::string_view delimiter);
    void follow(std::string_view delimiter, char byte) noexcept;
    std::vector<std::size_t> of; ///< its first i + 1 bytes end with its first of[i] bytes, and no more
    std::size_t matched = 0;
  };

  ReadRequest request_;
  std::unique_ptr<Borders> borders_;
  std::size_t searched_ = 0; ///< a delimiter does not begin, a match does not end before this position
  [[no_unique_address]] RegexProgress regex_progress_; ///< at searched_
  StreamErrc limit_error_ = StreamErrc::unsatisfiable_read;
  LimitPolicy limit_policy_ = LimitPolicy::close;
};

} // namespace squall
