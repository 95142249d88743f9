// SPDX-License-Identifier: BSD-3-Clause
//
// stream_messages.cpp: each request that a stream actor understands, sent from outside of it; and actors that do so.
#include "stream_example.hpp"
#include <squall/io_system.hpp>

#include <filesystem>
#include <fstream>
#include <future>
#include <unistd.h>

namespace {

using namespace example;

/// A failure that was not asked for.
[[noreturn]] void fail(const caf::error& error) { throw std::runtime_error{squall::error_text(error)}; }

/// Two stream actors without handlers, connected with each other.
struct Ends {
  squall::StreamActor stream; ///< the side that an example is about
  squall::StreamActor peer;
};

Ends connect(caf::scoped_actor& self, squall::IOSystem& io, const squall::StreamOptions& options = {}) {
  auto accepted = std::make_shared<std::promise<squall::StreamActor>>();
  std::future<squall::StreamActor> peer = accepted->get_future();
  const squall::ListenerActor listener =
      io.spawn_listener([accepted](caf::event_based_actor*, const squall::StreamActor& stream,
                                   const squall::Endpoint&) -> caf::behavior {
        accepted->set_value(stream);
        return {[](squall::Stop) {}}; // lives as long as its stream
      });
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  self->request(listener, deadline, squall::AddSocket{listening})
      .receive([](const squall::Listening&) {}, fail);
  const squall::Endpoint server = listening.local_endpoint();
  // [connect]
  squall::StreamActor stream = io.spawn_stream(options);                   // on no connection yet
  self->request(stream, 5s, squall::Connect{server}).receive([] {}, fail); // stream_closed(error) says why
  // [connect]
  check(peer.wait_for(deadline) == std::future_status::ready);
  self->send_exit(listener, caf::exit_reason::user_shutdown);
  return {stream, peer.get()};
}

void write(caf::scoped_actor& self, const squall::StreamActor& stream, const squall::Bytes& data) {
  self->request(stream, deadline, squall::Write{data}).receive([] {}, fail);
}

squall::Bytes read(caf::scoped_actor& self, const squall::StreamActor& stream, std::size_t size) {
  squall::Bytes result;
  self->request(stream, deadline, squall::ReadBytes{size})
      .receive([&](const squall::Bytes& bytes) { result = bytes; }, fail);
  return result;
}

void reads(caf::scoped_actor& self, squall::IOSystem& io) {
  auto [stream, peer] = connect(self, io);
  write(self, peer, "headline\nkey: value\r\n0123456789");
  // [reads]
  std::string log;
  const auto take = [&](const squall::Bytes& bytes) { log += bytes.str() + "|"; };
  self->request(stream, 5s, squall::Peek{2}).receive(take, fail);
  self->request(stream, 5s, squall::ReadBytes{4}).receive(take, fail);
  self->request(stream, 5s, squall::ReadUntil{"\n", 4096, 5s}).receive(take, fail);
  self->request(stream, 5s, squall::ReadUntilRegex{squall::Regex{"\r?\n"}, 4096}).receive(take, fail);
  self->request(stream, 5s, squall::ReadInto{squall::MutableBytes{8}}).receive(take, fail);
  self->request(stream, 5s, squall::ReadUntil{"\n", {}, 10ms}).receive(take, [&](const caf::error& error) {
    if (const auto failed = squall::stream_error(error)) // StreamErrc::timed_out
      log += to_string(failed->code);
  });
  // [reads]
  check(log ==
        std::string{"he|head|line\n|key: value\r\n|01234567|"} + to_string(squall::StreamErrc::timed_out));
  // [close]
  self->request(peer, 5s, squall::Close{}).receive([] {}, fail); // it is closed; what it had unread is gone
  // [close]
  // [until_close]
  std::string rest;
  self->request(stream, 5s, squall::ReadUntilClose{})
      .receive([&](const squall::Bytes& bytes) { rest = bytes.str(); }, fail);
  // [until_close]
  check(rest == "89");
}

// [receiver]
/// Takes chunks, each of which is answered when it is stored: the next comes only then.
caf::behavior store(caf::event_based_actor*, const std::shared_ptr<std::ofstream>& file) {
  return {[=](const squall::Chunk& chunk) {
    file->write(chunk.data.data(), static_cast<std::streamsize>(chunk.data.size()));
  }};
}
// [receiver]

void chunks_and_files(caf::scoped_actor& self, squall::IOSystem& io) {
  auto [stream, peer] = connect(self, io);
  const std::string path = std::filesystem::temp_directory_path() / ("squall-" + std::to_string(getpid()));
  const std::string copy = path + "-copy";
  std::ofstream{path} << std::string(300'000, 'x');
  // [write_file]
  self->request(peer, 5s, squall::WriteFile{path}).receive([] {}, fail); // the system took all of it
  // [write_file]
  auto file = std::make_shared<std::ofstream>(copy);
  // [chunks]
  caf::actor receiver = io.system().spawn(store, file);
  self->request(stream, 5s, squall::SendChunks{squall::ReadChunks{.num_bytes = 300'000}, receiver})
      .receive([] {}, fail); // the receiver accepted every byte
  // [chunks]
  self->send_exit(receiver, caf::exit_reason::user_shutdown);
  file->flush();
  check(std::filesystem::file_size(copy) == 300'000);
  std::filesystem::remove(path);
  std::filesystem::remove(copy);
}

void cancel(caf::scoped_actor& self, squall::IOSystem& io) {
  auto [stream, peer] = connect(self, io);
  write(self, peer, "half a li");
  // [cancel_read]
  auto line = self->request(stream, 5s, squall::ReadUntil{"\n"});
  self->request(stream, 5s, squall::CancelRead{}).receive([] {}, fail);
  bool cancelled = false;
  line.receive([](const squall::Bytes&) {},
               [&](const caf::error& error) { // every byte stays unread
                 cancelled = squall::stream_error(error)->code == squall::StreamErrc::cancelled;
               });
  // [cancel_read]
  check(cancelled && read(self, stream, 9) == "half a li");
}

void writes(caf::scoped_actor& self, squall::IOSystem& io) {
  auto [stream, peer] = connect(self, io);
  // [writes]
  self->request(stream, 5s, squall::Write{"header\n"}).receive([] {}, fail);
  std::vector<squall::Bytes> pieces{"one ", "two\n"};
  self->request(stream, 5s, squall::WritePieces{pieces}).receive([] {}, fail);
  self->request(stream, 5s, squall::AwaitWritable{}).receive([] {}, fail); // for producers that pause
  self->request(stream, 5s, squall::ShutdownWrite{}).receive([] {}, fail); // the peer reads the end
  // [writes]
  check(read(self, peer, 15) == "header\none two\n");
  squall::StreamInfo info;
  // [state]
  self->send(peer, squall::SetNodelay{false});
  self->send(peer, squall::SetKeepAlive{squall::KeepAlive{.idle = 30s}});
  self->request(peer, 5s, squall::Info{}).receive([&](const squall::StreamInfo& got) { info = got; }, fail);
  // [state]
  check(info.bytes_received == 15 && info.unread_size == 0 && info.writable);
}

void closes(caf::scoped_actor& self, squall::IOSystem& io) {
  squall::StreamOptions options;
  options.half_close = true;
  auto [stream, peer] = connect(self, io, options);
  std::string log;
  // [events]
  auto end = self->request(stream, 5s, squall::AwaitEnd{});
  auto closed = self->request(stream, 5s, squall::AwaitClose{});
  self->request(peer, 5s, squall::ShutdownWrite{}).receive([] {}, fail);
  end.receive([&] { log += "ended "; }, fail);
  self->request(stream, 5s, squall::CloseAfterFlush{1s}).receive([&] { log += "sent "; }, fail);
  closed.receive([&](const squall::StreamError& why) { log += to_string(why.reason); }, fail);
  // [events]
  check(log == std::string{"ended sent "} + to_string(squall::CloseReason::local_close));
}

void breaks(caf::scoped_actor& self, squall::IOSystem& io) {
  auto [stream, peer] = connect(self, io);
  squall::CloseReason reason{};
  self->request(peer, 5s, squall::Peek{0}).receive([](const squall::Bytes&) {}, fail);
  // [abort]
  self->request(stream, 5s, squall::Abort{}).receive([] {}, fail); // or Close, which ends in order
  self->request(peer, 5s, squall::ReadUntil{"\n"})
      .receive([](const squall::Bytes&) {},
               [&](const caf::error& error) {
                 if (const auto why = squall::stream_closed(error))
                   reason = why->reason();
               });
  // [abort]
  check(reason == squall::CloseReason::reset);
}

} // namespace

int main() try {
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing"));
  caf::actor_system system{config};
  squall::IOSystem io{system};
  caf::scoped_actor self{system};
  reads(self, io);
  chunks_and_files(self, io);
  cancel(self, io);
  writes(self, io);
  closes(self, io);
  breaks(self, io);
  std::cout << "all operations done" << std::endl;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
