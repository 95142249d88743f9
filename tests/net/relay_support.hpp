// SPDX-License-Identifier: BSD-3-Clause
//
// relay_support.hpp: what the tests of relays share: the ways to read and to write, and a buffer that is overwritten as
// soon as a write of its bytes is answered.
#pragma once

#include "tests/net/support.hpp"
#include <squall/net/file.hpp>
#include <squall/net/stream_requests.hpp>

#include <algorithm>
#include <cstring>
#include <ostream>
#include <string>
#include <unistd.h>

namespace squall::testing_support {

enum class ReadWay { bytes, exact_bytes, until, regex, into, whole_into, peek, chunks, until_close };
enum class WriteWay { whole, halves, pieces, file };

inline constexpr ReadWay read_ways[]{ReadWay::bytes, ReadWay::exact_bytes, ReadWay::until,
                                     ReadWay::regex, ReadWay::into,        ReadWay::whole_into,
                                     ReadWay::peek,  ReadWay::chunks,      ReadWay::until_close};
inline constexpr WriteWay write_ways[]{WriteWay::whole, WriteWay::halves, WriteWay::pieces, WriteWay::file};

/// What one relay does.
struct RelayPlan {
  ReadWay read;
  WriteWay write;
  std::size_t size;  ///< of the buffer, and the most that is read at once
  std::size_t total; ///< bytes in all
};

inline std::ostream& operator<<(std::ostream& out, const RelayPlan& plan) {
  return out << "read " << static_cast<int>(plan.read) << ", write " << static_cast<int>(plan.write) << ", "
             << plan.total << " bytes by " << plan.size;
}

/// What goes through the relay: a line end at the end of each buffer's worth.
inline std::string relayed_data(const RelayPlan& plan) {
  std::string data = pattern(plan.total);
  for (std::size_t end = plan.size; end < data.size(); end += plan.size)
    data[end - 1] = '\n';
  data.back() = '\n';
  return data;
}

/// The one buffer of a relay.
class RelayBuffer {
public:
  explicit RelayBuffer(std::size_t size) : memory_{size} {}

  [[nodiscard]] const MutableBytes& memory() const { return memory_; }
  /// What was read, as bytes of the buffer: copied to it where they are not there.
  [[nodiscard]] Bytes take(const Bytes& bytes) const {
    if (bytes.data() != memory_.data())
      std::memcpy(memory_.data(), bytes.data(), bytes.size());
    return memory_.front(bytes.size());
  }
  /// The write of its bytes was answered: it is free.
  void overwrite() const { std::memset(memory_.data(), '#', memory_.size()); }

private:
  MutableBytes memory_;
};

/// A file to which a relay appends what it sends from there.
class RelayFile {
public:
  /// Writes `bytes` behind what is there. @returns where
  std::uint64_t append(std::string_view bytes) {
    const std::uint64_t offset = size_;
    EXPECT_EQ(::pwrite(file_.fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
    size_ += bytes.size();
    return offset;
  }
  [[nodiscard]] const File& file() const { return file_; }

private:
  static Socket open() {
    char path[] = "/tmp/squall-relay-XXXXXX";
    Socket made = checked_socket(::mkostemp(path, O_CLOEXEC), "mkostemp");
    ::unlink(path);
    return made;
  }
  File file_{open()};
  std::uint64_t size_ = 0;
};

/// The next read of a relay that has `rest` bytes to come; those of ReadWay::peek and chunks are made otherwise.
inline ReadRequest next_read(const RelayPlan& plan, std::size_t rest, const RelayBuffer& buffer) {
  static const Regex line_end{"\n"};
  const std::size_t next = std::min(plan.size, rest);
  switch (plan.read) {
  case ReadWay::exact_bytes:
    return ReadBytes{next};
  case ReadWay::until:
    return ReadUntil{"\n"};
  case ReadWay::regex:
    return ReadUntilRegex{line_end};
  case ReadWay::into:
    return ReadInto{buffer.memory(), true};
  case ReadWay::whole_into:
    return ReadInto{buffer.memory(), rest < plan.size};
  case ReadWay::until_close:
    return ReadUntilClose{};
  case ReadWay::peek:
    return Peek{next};
  default:
    return ReadBytes{next, true};
  }
}

/// Halves of `bytes`; the first is empty where there is but one.
inline std::vector<Bytes> halves_of(const Bytes& bytes) {
  return {bytes.slice(0, bytes.size() / 2), bytes.slice(bytes.size() / 2)};
}

/// Every pair with buffers of a byte to 300 kB, and some with larger ones.
inline std::vector<RelayPlan> relay_plans() {
  std::vector<RelayPlan> plans;
  const auto add = [&](ReadWay read, WriteWay write, std::size_t size, std::size_t total) {
    // All in one piece has room in one buffer only.
    plans.push_back({read, write, read == ReadWay::until_close ? total : size, total});
  };
  for (const ReadWay read : read_ways)
    for (const WriteWay write : write_ways) {
      add(read, write, 1, 40);
      add(read, write, 1'000, 30'017);
      add(read, write, 60'000, 250'017);
      add(read, write, 300'000, 600'017);
    }
  constexpr std::size_t large = 8 * 1024 * 1024;
  for (const ReadWay read : {ReadWay::into, ReadWay::whole_into, ReadWay::bytes})
    add(read, WriteWay::whole, large, large + 17);
  return plans;
}

} // namespace squall::testing_support
