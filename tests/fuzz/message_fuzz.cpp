// SPDX-License-Identifier: BSD-3-Clause
//
// message_fuzz.cpp: whatever another node sends in place of a message, it is refused or becomes a value that travels on as it
// came.
#include "tests/fuzz/require.hpp"
#include <squall/squall.hpp>

#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>

#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

namespace squall {
namespace {

/// All that can travel; see the block of type ids in stream_messages.hpp.
using Messages =
    std::tuple<Abort, AwaitClose, AwaitDrain, AwaitEnd, AwaitHandshake, AwaitWritable, Bytes, CancelRead,
               Chunk, Close, CloseAfterFlush, CloseConnection, Connect, ConnectionList, Connections, Drain,
               Drained, Endpoint, Info, Listen, ListenerInfo, Listening, Pause, Peek, ReadBytes, ReadChunks,
               ReadUntil, ReadUntilClose, ReadUntilRegex, Regex, ReloadTLS, Resume, SetKeepAlive, SetLimits,
               SetNodelay, ShutdownWrite, Stop, StreamError, StreamInfo, TLSInfo, Write, WritePieces>;

struct Config : caf::actor_system_config {
  Config() {
    init_messages(*this);
    set("scheduler.max-threads", 1);
    set("scheduler.policy", caf::atom("sharing"));
  }
};

template <class T>
std::vector<char> to_bytes(caf::actor_system& system, T& value) {
  std::vector<char> bytes;
  caf::binary_serializer sink{system, bytes};
  require(!sink(value), "what has arrived can be sent");
  return bytes;
}

template <class T>
void check(caf::actor_system& system, const std::vector<char>& bytes) {
  T value{};
  caf::binary_deserializer source{system, bytes};
  if (source(value))
    return;
  const std::vector<char> sent = to_bytes(system, value);
  T copy{};
  caf::binary_deserializer again{system, sent};
  require(!again(copy), "what was sent arrives");
  require(to_bytes(system, copy) == sent, "what arrives is what was sent");
}

template <std::size_t... Is>
void check_one(caf::actor_system& system, std::size_t which, const std::vector<char>& bytes,
               std::index_sequence<Is...>) {
  ((which % sizeof...(Is) == Is ? check<std::tuple_element_t<Is, Messages>>(system, bytes) : void()), ...);
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static squall::Config config;
  static auto& system =
      *new caf::actor_system{config}; // never destroyed: CAF's own static objects go before it would
  if (size == 0)
    return 0;
  const std::vector<char> bytes(data + 1, data + size);
  squall::check_one(system, data[0], bytes, std::make_index_sequence<std::tuple_size_v<squall::Messages>>{});
  return 0;
}
