// SPDX-License-Identifier: BSD-3-Clause
//
// unix_socket_test.cpp: bind_unix_socket: who may connect, whose file is removed and whose is not.
#include "net/socket_api.hpp"
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;

/// Sets the umask while it lives.
class Umask {
public:
  explicit Umask(mode_t mask) : before_{::umask(mask)} {}
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;
  ~Umask() { ::umask(before_); }

private:
  mode_t before_;
};

class BindUnixSocket : public testing::Test {
protected:
  BindUnixSocket() {
    std::string pattern = testing::TempDir() + "squall-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    path = folder + "/x.sock";
  }
  ~BindUnixSocket() override { std::filesystem::remove_all(folder); }

  [[nodiscard]] static mode_t mode_of(const std::string& file) {
    struct stat found {};
    EXPECT_EQ(::lstat(file.c_str(), &found), 0) << file;
    return found.st_mode & 07777;
  }
  [[nodiscard]] static bool exists(const std::string& file) {
    return std::filesystem::symlink_status(file).type() != std::filesystem::file_type::not_found;
  }
  /// What a server leaves that ends without closing.
  static void leave_stale_socket(const std::string& file) {
    const Socket socket = socket_api::bind_unix(file, 0600).socket;
    ASSERT_TRUE(socket);
  }
  [[nodiscard]] static std::error_code failure(const std::string& file, std::string* text = nullptr) {
    try {
      bind_unix_socket(file);
      return {};
    } catch (const std::system_error& error) {
      EXPECT_NE(std::string{error.what()}.find(file), std::string::npos) << error.what();
      if (text != nullptr)
        *text = error.what();
      return error.code();
    }
  }

  std::string folder;
  std::string path;
};

TEST_F(BindUnixSocket, ListensAndTellsItsPath) {
  const ListeningSocket socket = bind_unix_socket(path);
  EXPECT_EQ(socket.local_endpoint(), (Endpoint{path, 0, AddressFamily::unix_domain}));
  EXPECT_NO_THROW(connect_to(socket));
  EXPECT_NE(::fcntl(socket.fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(socket.fd(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(BindUnixSocket, RuleC6TheFileHasItsModeWhateverTheUmask) {
  for (const mode_t mask : {mode_t{0}, mode_t{0022}, mode_t{0077}, mode_t{0777}}) {
    const Umask umask{mask};
    EXPECT_EQ(mode_of(bind_unix_socket(path).local_endpoint().address), 0600u);
    for (const std::uint32_t mode : {0666u, 0660u, 0777u, 0u}) {
      const ListeningSocket socket = bind_unix_socket(path, {.mode = mode});
      EXPECT_EQ(mode_of(path), mode) << "umask " << mask;
    }
  }
}

TEST_F(BindUnixSocket, RuleC6TheFileNeverHasMoreThanItsMode) {
  const Umask umask{0};
  const socket_api::Bound bound = socket_api::bind_unix(path, 0600); // before anything else is done to it
  ASSERT_TRUE(bound.socket);
  EXPECT_EQ(mode_of(path), 0600u);
  Socket client;
  EXPECT_EQ(socket_api::connect(client, {path, 0, AddressFamily::unix_domain}), ECONNREFUSED)
      << "nobody can connect before it listens";
}

TEST_F(BindUnixSocket, RuleC6TellsThePeersCredentials) {
  EventLoop loop;
  const ListeningSocket listener = bind_unix_socket(path);
  Socket accepted;
  const auto remove = add_accept_handler(loop, listener, [&](Socket connection, const Endpoint& peer) {
    EXPECT_EQ(peer, (Endpoint{"", 0, AddressFamily::unix_domain}));
    accepted = std::move(connection);
  });
  const Socket client = connect_to(listener);
  ASSERT_TRUE(run_until(loop, [&] { return static_cast<bool>(accepted); }));
  IOStream stream{loop, std::move(accepted)};
  const PeerCredentials own{::getpid(), ::geteuid(), ::getegid()};
  EXPECT_EQ(stream.peer_credentials(), own);
  stream.close();
  EXPECT_EQ(stream.peer_credentials(), std::nullopt);
  IOStream tcp{loop, make_tcp_pair().first};
  EXPECT_EQ(tcp.peer_credentials(), std::nullopt);
}

TEST_F(BindUnixSocket, WeakSpot27ReplacesAFileOnWhichNobodyAnswers) {
  leave_stale_socket(path);
  ASSERT_TRUE(exists(path));
  const ListeningSocket socket = bind_unix_socket(path);
  EXPECT_NO_THROW(connect_to(socket));
}

TEST_F(BindUnixSocket, WeakSpot27DoesNotDisplaceALiveListener) {
  const ListeningSocket first = bind_unix_socket(path);
  EXPECT_EQ(failure(path), std::errc::address_in_use);
  EXPECT_NO_THROW(connect_to(first));
}

TEST_F(BindUnixSocket, DoesNotDisplaceAListenerWhoseQueueIsFull) {
  const ListeningSocket first = bind_unix_socket(path, {.backlog = 1});
  std::vector<Socket> clients;
  int error = 0;
  while (error == 0 && clients.size() < 100)
    error = socket_api::connect(clients.emplace_back(), first.local_endpoint());
  ASSERT_EQ(error, EAGAIN);
  EXPECT_EQ(failure(path), std::errc::address_in_use);
}

TEST_F(BindUnixSocket, DoesNotDisplaceAListenerOfAnotherType) {
  const Socket datagrams{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(datagrams.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(failure(path), std::errc::address_in_use);
  EXPECT_TRUE(exists(path));
}

TEST_F(BindUnixSocket, WeakSpot27RefusesSymbolicLinks) {
  leave_stale_socket(folder + "/target");
  std::filesystem::create_symlink(folder + "/target", path);
  std::string text;
  EXPECT_EQ(failure(path, &text), std::errc::file_exists);
  EXPECT_NE(text.find("symbolic link"), std::string::npos) << text;
  EXPECT_TRUE(exists(path));
  EXPECT_TRUE(exists(folder + "/target"));
  std::filesystem::remove(folder + "/target"); // one that leads nowhere
  EXPECT_EQ(failure(path), std::errc::file_exists);
}

TEST_F(BindUnixSocket, RefusesAFileThatIsNoSocket) {
  std::ofstream{path} << "precious";
  std::string text;
  EXPECT_EQ(failure(path, &text), std::errc::file_exists);
  EXPECT_NE(text.find("no socket"), std::string::npos) << text;
  EXPECT_EQ(std::filesystem::file_size(path), 8u);
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_EQ(failure(path), std::errc::file_exists);
}

TEST_F(BindUnixSocket, TellsWhatTheSystemSays) {
  EXPECT_EQ(failure(folder + "/none/x.sock"), std::errc::no_such_file_or_directory);
  std::ofstream{folder + "/file"} << "";
  EXPECT_EQ(failure(folder + "/file/x.sock"), std::errc::not_a_directory);
}

TEST_F(BindUnixSocket, WeakSpot27RemovesItsOwnFile) {
  ListeningSocket socket = bind_unix_socket(path);
  const ListeningSocket copy = socket;
  socket.close();
  EXPECT_FALSE(exists(path)) << "with close()";
  { const ListeningSocket last = bind_unix_socket(path); }
  EXPECT_FALSE(exists(path)) << "with the last copy";
}

TEST_F(BindUnixSocket, WeakSpot27RemovesNobodyElsesFile) {
  ListeningSocket first = bind_unix_socket(path);
  std::filesystem::remove(path);
  const ListeningSocket second = bind_unix_socket(path);
  first.close();
  EXPECT_TRUE(exists(path));
  EXPECT_NO_THROW(connect_to(second));
}

TEST_F(BindUnixSocket, RemovesTheFileOfARelativePathFromAnywhere) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  ListeningSocket socket = bind_unix_socket("relative.sock");
  std::filesystem::current_path(before);
  EXPECT_TRUE(exists(folder + "/relative.sock"));
  socket.close();
  EXPECT_FALSE(exists(folder + "/relative.sock"));
}

TEST_F(BindUnixSocket, AChildLeavesTheFileToItsParent) {
  ListeningSocket socket = bind_unix_socket(path);
  const pid_t child = ::fork();
  if (child == 0) {
    socket.close();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(exists(path));
  EXPECT_NO_THROW(connect_to(socket));
}

TEST_F(BindUnixSocket, ServersThatStartTogetherDoNotReplaceEachOther) {
  for (int round = 0; round < 50; ++round) {
    leave_stale_socket(path);
    std::atomic<int> waiting{0};
    const auto start = [&]() -> std::optional<ListeningSocket> {
      ++waiting;
      while (waiting < 2)
        std::this_thread::yield();
      try {
        return bind_unix_socket(path);
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::address_in_use);
        return std::nullopt;
      }
    };
    auto other = std::async(std::launch::async, start);
    const auto one = start();
    const auto two = other.get();
    EXPECT_NE(one.has_value(), two.has_value()) << "one of them serves";
    EXPECT_NO_THROW(connect_to(one ? *one : *two));
  }
}

TEST_F(BindUnixSocket, TakesAbstractNames) {
  const std::string name = "@squall-test-" + std::to_string(::getpid());
  ListeningSocket socket = bind_unix_socket(name);
  EXPECT_EQ(to_string(socket.local_endpoint()), "unix:" + name);
  EXPECT_NO_THROW(connect_to(socket));
  EXPECT_EQ(failure(name), std::errc::address_in_use);
  socket.close();
  EXPECT_NO_THROW(bind_unix_socket(name)) << "free at once";
  EXPECT_FALSE(exists(name));
}

/// A peer may bind its own end to any bytes, and a log or a page shows them.
TEST_F(BindUnixSocket, APeersPathIsShownOnOneLineOfPlainText) {
  const ListeningSocket listening = bind_unix_socket(path);
  const std::string evil = folder + "/evil\n\x1b[2J\"\xff";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  evil.copy(address.sun_path, sizeof address.sun_path - 1);
  const Socket client{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::bind(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  sockaddr_un server{};
  server.sun_family = AF_UNIX;
  path.copy(server.sun_path, sizeof server.sun_path - 1);
  ASSERT_EQ(::connect(client.fd(), reinterpret_cast<const sockaddr*>(&server), sizeof server), 0);
  const socket_api::Accepted accepted = socket_api::accept(listening.fd());
  EXPECT_EQ(accepted.peer.address, evil) << "as it is";
  EXPECT_EQ(to_string(accepted.peer), "unix:" + folder + R"(/evil\n\x1b[2J\"\xff)");
  EXPECT_EQ(to_string(Endpoint{"a\nb", 1, AddressFamily::ipv4}), R"(a\nb:1)") << "no number, but to be told";
  ::unlink(evil.c_str());
}

TEST_F(BindUnixSocket, ItsErrorsShowPathsAsPlainText) {
  std::string text;
  try {
    bind_unix_socket(folder + "/no\nfolder/x");
  } catch (const std::system_error& error) {
    text = error.what();
  }
  EXPECT_NE(text.find(R"(/no\nfolder/x)"), std::string::npos) << text;
}

TEST_F(BindUnixSocket, RuleC8CutsNoPath) {
  const std::string fill(120, 'x');
  const auto with_size = [&](const std::string& begin, std::size_t size) {
    return begin + fill.substr(0, size - begin.size());
  };
  for (const std::size_t size : {106u, 107u}) {
    const std::string file = with_size(folder + '/', size);
    const ListeningSocket socket = bind_unix_socket(file);
    EXPECT_EQ(socket.local_endpoint().address, file);
    EXPECT_TRUE(exists(file));
    const std::string name = with_size("@squall-" + std::to_string(::getpid()), size + 1);
    EXPECT_EQ(bind_unix_socket(name).local_endpoint().address, name);
  }
  for (const std::string& wrong :
       {std::string{}, std::string{"@"}, with_size(folder + '/', 108), with_size(folder + '/', 115),
        with_size("@", 109), std::string{"\0abstract", 9}, folder + std::string{"/a\0b", 4},
        folder + '/' + std::string(65536, 'x')})
    EXPECT_THROW(bind_unix_socket(wrong), std::invalid_argument) << wrong.size();
  try {
    bind_unix_socket(with_size(folder + '/', 108));
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string{error.what()}.find("has 108 bytes, the system takes 107"), std::string::npos)
        << error.what();
  }
}

TEST_F(BindUnixSocket, RefusesOptionsThatCannotBe) {
  EXPECT_THROW(bind_unix_socket(path, {.mode = 01777}), std::invalid_argument);
  EXPECT_THROW(bind_unix_socket(path, {.backlog = 0}), std::invalid_argument);
  EXPECT_FALSE(exists(path));
}

} // namespace

} // namespace squall
