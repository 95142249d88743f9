// SPDX-License-Identifier: BSD-3-Clause
//
// stream_share.hpp: what one stream may do in a turn before the others get theirs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace squall {

inline constexpr std::uint32_t operations_per_turn = 128;
inline constexpr std::uint32_t handshake_steps_per_turn = 16; ///< of all streams of a loop
inline constexpr std::size_t bytes_per_turn = 1024 * 1024;

/// What a close may still send, which has no later turn.
inline constexpr std::size_t most_at_close = 4 * 1024 * 1024;
/// What may still be received or sent before a timeout is told: what the system holds of a connection is seldom more.
inline constexpr std::size_t most_at_deadline = 4 * 1024 * 1024;

} // namespace squall
