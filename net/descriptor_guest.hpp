// SPDX-License-Identifier: BSD-3-Clause
//
// descriptor_guest.hpp: what lives as long as a stream has its descriptor, which may be longer than the stream is open: a
// closed stream sends what was answered. A listener counts its connections by it.
//
// Threads    The loop's.
// Ownership  The stream shares its guest until the descriptor is closed.
#pragma once

#include <squall/net/io_stream.hpp>

#include <memory>

namespace squall {

class DescriptorGuest {
public:
  virtual ~DescriptorGuest() = default;

  /// Gives `stream` its guest, unless its descriptor is closed already. A stream has one guest at most.
  static void join(const IOStream& stream, std::shared_ptr<DescriptorGuest> guest) noexcept;
  /// The guest of `stream` has a handle of it from now on, until on_descriptor_closed: one that reads nothing, so that it keeps
  /// no unread bytes.
  static void hold(const IOStream& stream) noexcept;
  /// True until the descriptor of `stream` is closed.
  [[nodiscard]] static bool has_descriptor(const IOStream& stream) noexcept;

  /// The descriptor is closed. The stream lets this go next.
  virtual void on_descriptor_closed() noexcept {}

protected:
  DescriptorGuest() = default;
  DescriptorGuest(const DescriptorGuest&) = default;
  DescriptorGuest& operator=(const DescriptorGuest&) = default;
};

} // namespace squall
