// SPDX-License-Identifier: BSD-3-Clause
//
// stream_write.cpp: how a stream writes.
#include <algorithm>
#include <array>

#include "net/stream_core.hpp"
#include "net/stream_share.hpp"

namespace squall {

namespace {

/// How much an awaited write may leave to the end of the turn and count as done; see IOStream::write.
constexpr std::size_t early_answer_size = 64 * 1024;

} // namespace

std::optional<StreamError> StreamCore::queue_write(Bytes data, std::uint64_t& end) {
  if (closed_)
    return error();
  const auto room = [&] { return data.size() <= options_.max_write_buffer_size - unsent_.size(); };
  if (data.size() > options_.max_write_buffer_size)
    return StreamError{StreamErrc::buffer_full, CloseReason::none, {}};
  if (!room()) {
    send_unsent(bytes_per_turn);
    if (closed_)
      return error();
    if (!room())
      return StreamError{StreamErrc::buffer_full, CloseReason::none, {}};
  }
  unsent_.append(std::move(data));
  end = unsent_.end();
  if (!blocked_)
    loop_.at_end_of_turn(flush_task_);
  return std::nullopt;
}

bool StreamCore::answer_early(std::uint64_t end) noexcept {
  if (sent(end))
    return true;
  if (closed_ || blocked_ || unsent_.size() > early_answer_size || !spend_operation())
    return false;
  answered_ = std::max(answered_, end);
  return true;
}

void StreamCore::await_write(std::uint64_t end, WriteCompletion& completion) {
  // Answered writers at the front make room before the vector grows, as in WriteQueue::append.
  if (writers_.size() == writers_.capacity() && first_writer_ > writers_.size() / 2) {
    writers_.erase(writers_.begin(), writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_));
    first_writer_ = 0;
  }
  const auto first = writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_);
  const auto behind = std::upper_bound(first, writers_.end(), end,
                                       [](std::uint64_t a, const PendingWrite& b) { return a < b.end; });
  writers_.insert(behind, {end, &completion});
}

void StreamCore::cancel_write(WriteCompletion& completion) noexcept {
  for (std::size_t i = first_writer_; i < writers_.size(); ++i)
    if (writers_[i].completion == &completion)
      writers_[i].completion = nullptr;
}

/// Takes the first writer out and answers it. It may queue, await and cancel other writes meanwhile.
void StreamCore::answer_first_writer(Result<void> result) {
  WriteCompletion* completion = writers_[first_writer_++].completion;
  if (first_writer_ == writers_.size()) {
    writers_.clear();
    first_writer_ = 0;
  }
  if (completion != nullptr)
    completion->on_write(std::move(result));
}

/// Sends what is unsent and answers the writes that are done.
void StreamCore::flush() {
  const Guard guard{*this};
  send_unsent(bytes_per_turn);
  answer_writes();
  if (lingering_ && (unsent_.empty() || transport_ == nullptr))
    end_linger();
}

void StreamCore::send_unsent(std::size_t most) {
  constexpr std::size_t most_pieces = 64;
  std::array<IoSlice, most_pieces> pieces;
  std::size_t sent_now = 0;
  while (!unsent_.empty() && transport_ != nullptr) {
    if (sent_now >= most) {
      loop_.at_end_of_turn(flush_task_);
      return;
    }
    const IoResult result = transport_->write_to_fd(pieces.data(), unsent_.gather(pieces.data(), most_pieces));
    if (result.status == IoResult::Status::would_block) {
      blocked_ = true;
      return;
    }
    if (result.status != IoResult::Status::done) {
      fail(result.error, "send");
      return;
    }
    blocked_ = false;
    unsent_.advance(result.size);
    sent_now += result.size;
  }
}

void StreamCore::answer_writes() {
  while (!writers_.empty() && sent(writers_[first_writer_].end))
    answer_first_writer({});
}

} // namespace squall
