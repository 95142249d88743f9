// SPDX-License-Identifier: BSD-3-Clause
//
// stream_write.cpp: how a stream writes.
#include "net/memory_reserve.hpp"
#include "net/stream_core.hpp"
#include "net/stream_share.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace squall {

namespace {

/// How much an awaited write may leave to the end of the turn and count as done; see IOStream::write.
constexpr std::size_t early_answer_size = 64 * 1024;

/// How many bytes that somebody may change (MutableBytes) are copied for an early answer. Beyond that a copy costs more than
/// to wait for the end of the turn, which costs a send for each write.
constexpr std::size_t most_copied = 16 * 1024;

} // namespace

/// Why a write of `size` bytes of memory cannot be queued, if that is so.
std::optional<StreamError> StreamCore::refuse_write(std::size_t size) {
  check_thread();
  if (closed_)
    return error();
  if (write_end_wanted_)
    return failure(StreamErrc::write_ended);
  if (size > options_->max_write_buffer_size)
    return failure(StreamErrc::buffer_full);
  const auto fits = [&] {
    const auto room = write_room();
    return room && size <= *room;
  };
  if (!fits()) {
    send_unsent(bytes_per_turn);
    if (closed_)
      return error();
    if (!writers_.empty()) // what was sent now is answered, also when the transport is blocked again
      loop_.at_end_of_turn(flush_task_);
    if (!fits())
      return failure(StreamErrc::buffer_full);
  }
  return std::nullopt;
}

/// After something was queued. @returns the position of its end
std::uint64_t StreamCore::queued() {
  awaits_answer_ = false;
  paused_ = paused_ || unsent_.size() > options_->write_high_water_mark;
  count_memory();
  if (!blocked_)
    loop_.at_end_of_turn(flush_task_);
  return unsent_.end();
}

std::optional<StreamError> StreamCore::queue_write(Bytes&& data, std::uint64_t& end) {
  const auto room = write_room();
  if (closed_ || write_end_wanted_ || !room || data.size() > *room) { // seldom
    if (auto refused = refuse_write(data.size()))
      return refused;
  } else {
    check_thread();
  }
  unsent_.append(std::move(data), blocked_);
  end = queued();
  return std::nullopt;
}

std::optional<StreamError> StreamCore::queue_pieces(std::vector<Bytes> pieces, std::uint64_t& end) {
  std::size_t size = 0;
  for (const Bytes& piece : pieces)
    size += piece.size();
  if (auto refused = refuse_write(size))
    return refused;
  const std::uint64_t before = unsent_.end();
  try {
    for (Bytes& piece : pieces)
      unsent_.append(std::move(piece), blocked_);
  } catch (...) {
    unsent_.truncate(before);
    throw;
  }
  end = queued();
  return std::nullopt;
}

std::optional<StreamError> StreamCore::queue_file(const WriteFile& request, std::uint64_t& end) {
  if (auto refused = refuse_write(0))
    return refused;
  const auto failed = [this](int error) {
    return failure(StreamErrc::file_failed, {error, std::generic_category()});
  };
  File file;
  try {
    const auto* path = std::get_if<std::string>(&request.file);
    file = path != nullptr ? File::open(*path) : std::get<File>(request.file);
  } catch (const std::system_error& error) {
    return failed(error.code().value());
  }
  struct stat status {};
  if (::fstat(file.fd(), &status) != 0)
    return failed(errno);
  if (!S_ISREG(status.st_mode))
    return failed(EINVAL);
  if ((::fcntl(file.fd(), F_GETFL) & O_ACCMODE) == O_WRONLY)
    return failed(EBADF);
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  if (request.offset > file_size || request.count.value_or(0) > file_size - request.offset)
    return failed(ENODATA);
  const std::uint64_t count = request.count.value_or(file_size - request.offset);
  unsent_.append_file({std::move(file), request.offset, static_cast<std::size_t>(count)});
  end = queued();
  return std::nullopt;
}

bool StreamCore::answer_early(std::uint64_t end) noexcept {
  if (sent(end))
    return true;
  if (closed_ || blocked_ || unsent_.size() > early_answer_size || unsent_.memory_size() < unsent_.size() ||
      !unsent_.settle(most_copied) || !spend_operation())
    return false; // behind a file, which may turn out to be shorter, nothing is sure
  answered_ = std::max(answered_, end);
  return true;
}

void StreamCore::await_write(std::uint64_t end, Timeout timeout, WriteCompletion& completion) {
  const ReserveUse use; // the write is queued already
  // Answered writers at the front make room before the vector grows, as in WriteQueue::append.
  if (writers_.size() == writers_.capacity() && first_writer_ > writers_.size() / 2) {
    writers_.erase(writers_.begin(), writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_));
    first_writer_ = 0;
  }
  const auto first = writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_);
  const auto behind = std::upper_bound(first, writers_.end(), end,
                                       [](std::uint64_t a, const PendingWrite& b) { return a < b.end; });
  const TimePoint deadline = timeout ? loop_.now() + *timeout : TimePoint::max();
  if (timeout)
    arm_write_timer(deadline); // it may throw: before the completion is held
  writers_.insert(behind, {end, deadline, &completion});
  if (finished_) { // the close was told already: once more, to the late one
    finished_ = false;
    ref();
    loop_.defer(deferred_task_);
  } else if (transport_ != nullptr && sent(end)) {
    loop_.at_end_of_turn(flush_task_);
  }
  count_memory();
  if (timeout && deadline <= loop_.now())
    check_write_deadlines();
}

/// The timer rings at the earliest deadline; not for one that is due already, which is checked at once.
void StreamCore::arm_write_timer(TimePoint deadline) {
  if (closed_ || deadline == TimePoint::max() || deadline <= loop_.now())
    return;
  if (write_timer_ == nullptr)
    write_timer_ = std::make_unique<Timer>([this] { check_write_deadlines(); });
  if (!write_timer_->armed() || deadline < write_timer_->when())
    write_timer_->start(loop_, deadline);
}

/// The earliest deadline of a write that is not sent.
TimePoint StreamCore::next_write_deadline() const noexcept {
  TimePoint next = TimePoint::max();
  for (std::size_t i = first_writer_; i < writers_.size(); ++i)
    if (writers_[i].completion != nullptr && !sent(writers_[i].end))
      next = std::min(next, writers_[i].deadline);
  return next;
}

/// A write that is late closes the stream: a part of it may be sent, and the rest cannot be taken back.
/// Otherwise the timer is set for the next.
void StreamCore::check_write_deadlines() {
  TimePoint next = next_write_deadline();
  if (next <= loop_.now() &&
      !closed_) { // it may have waited for the end of the turn, or for more room than it needs
    send_unsent(most_at_deadline);
    loop_.at_end_of_turn(flush_task_);
    next = next_write_deadline();
  }
  if (next <= loop_.now())
    close(CloseReason::timed_out, {});
  else
    arm_write_timer(next);
}

std::optional<StreamError> StreamCore::shutdown_write(std::uint64_t& end) {
  if (closed_)
    return error();
  check_thread();
  write_end_wanted_ = true;
  end = unsent_.end();
  loop_.at_end_of_turn(flush_task_);
  return std::nullopt;
}

/// Everything is sent, and nothing will follow.
void StreamCore::end_own_side() {
  if (!write_end_wanted_ || write_ended_ || !unsent_.empty() || transport_ == nullptr ||
      link_ != LinkState::connected)
    return;
  if (!transport_->shutdown_write()) {
    blocked_ = true;
    return;
  }
  write_ended_ = true;
  if (read_ended_)
    shut(CloseReason::peer_closed, {});
}

/// Looks from the last on: who has just begun to wait goes without a trace.
void StreamCore::cancel_write(WriteCompletion& completion) noexcept {
  const auto first = writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_);
  const auto rend = std::make_reverse_iterator(first);
  const auto found = std::find_if(
      writers_.rbegin(), rend, [&](const PendingWrite& writer) { return writer.completion == &completion; });
  if (found == rend)
    return;
  found->completion = nullptr;
  while (writers_.size() > first_writer_ && writers_.back().completion == nullptr)
    writers_.pop_back();
  if (first_writer_ == writers_.size()) {
    writers_.clear();
    first_writer_ = 0;
  }
  count_memory();
}

/// Takes the first writer out and answers it. It may queue, await and cancel other writes meanwhile.
void StreamCore::answer_first_writer(Result<void> result) {
  WriteCompletion* completion = writers_[first_writer_++].completion;
  if (first_writer_ == writers_.size()) {
    constexpr std::size_t kept_capacity = 16;
    writers_.clear();
    if (writers_.capacity() > kept_capacity)
      std::vector<PendingWrite>{}.swap(writers_);
    first_writer_ = 0;
  }
  count_memory();
  if (completion != nullptr)
    completion->on_write(std::move(result));
}

/// Sends what is unsent and answers the writes that are done.
void StreamCore::flush() {
  const Guard guard{*this};
  send_unsent(bytes_per_turn);
  end_own_side();
  answer_writes();
  if (lingering_ && (unsent_.empty() || transport_ == nullptr))
    everything_sent();
}

void StreamCore::send_unsent(std::size_t most) {
  constexpr std::size_t most_pieces = 64;
  std::array<IoSlice, most_pieces> pieces;
  std::size_t sent_now = 0;
  while (!unsent_.empty() && transport_ != nullptr && link_ == LinkState::connected) {
    if (sent_now >= most) {
      loop_.at_end_of_turn(flush_task_);
      return;
    }
    const FileRange* file = unsent_.front_file();
    const IoResult result =
        file != nullptr
            ? transport_->send_file(file->file.fd(), file->offset, std::min(file->size, bytes_per_turn))
            : transport_->write_to_fd(pieces.data(), unsent_.gather(pieces.data(), most_pieces));
    if (result.more && !readable_) { // the bytes are in the transport: no readiness will tell
      readable_ = true;
      loop_.defer(deferred_task_);
    }
    const bool nothing =
        result.status == IoResult::Status::done && result.size == 0; // as some write(2)s say it
    const bool crossed = result.status == IoResult::Status::crossed;
    if (result.status == IoResult::Status::would_block || nothing || crossed) {
      blocked_ = true;
      write_crossed_ = write_crossed_ || crossed;
      unsent_.tighten();
      count_memory();
      return;
    }
    if (result.status != IoResult::Status::done) {
      const bool file_ended = result.status == IoResult::Status::end; // it became shorter
      fail(file_ended ? IoResult::failure(ENODATA) : result, "send");
      return;
    }
    blocked_ = false;
    unsent_.advance(std::min(result.size, unsent_.size()));
    count_memory();
    if (paused_ && unsent_.size() <= options_->write_low_water_mark) {
      paused_ = false;
      loop_.defer(deferred_task_); // which tells
    }
    note_activity();
    sent_now += result.size;
  }
}

void StreamCore::answer_writes() {
  while (!writers_.empty() && sent(writers_[first_writer_].end))
    answer_first_writer({});
}

} // namespace squall
