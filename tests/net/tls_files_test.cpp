// SPDX-License-Identifier: BSD-3-Clause
//
// tls_files_test.cpp: which files contexts of TLS read, when, and from where.
#include "net/regular_file.hpp"
#include "net/tls_context_state.hpp"
#include "net/tls_files.hpp"
#include "tests/log_recorder.hpp"
#include "tests/net/tls_fixture.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <sys/un.h>

namespace squall {

namespace {

using namespace testing_support;

namespace fs = std::filesystem;

/// A folder of its own, in which the process is not, for the files of one test.
class TLSFilesTest : public TLSTest {
protected:
  TLSFilesTest() {
    std::string name = (fs::path{testing::TempDir()} / "squall_tls_files_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw std::system_error{errno, std::generic_category(), "mkdtemp"};
    folder_ = name;
  }
  ~TLSFilesTest() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream{folder_ / name} << text;
    return (folder_ / name).string();
  }
  std::string make_fifo(const std::string& name) {
    EXPECT_EQ(::mkfifo((folder_ / name).c_str(), 0600), 0);
    return (folder_ / name).string();
  }
  std::string make_socket(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder_ / name).string().copy(address.sun_path, sizeof address.sun_path - 1);
    socket_ = Socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    EXPECT_EQ(::bind(socket_.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return (folder_ / name).string();
  }
  std::string make_directory(const std::string& name) {
    fs::create_directory(folder_ / name);
    return (folder_ / name).string();
  }
  /// As `openssl rehash` names it.
  static std::string hashed(const Identity& authority, const char* behind = ".0") {
    std::array<char, 16> name{};
    std::snprintf(name.data(), name.size(), "%08lx%s", X509_subject_name_hash(authority.certificate.get()),
                  behind);
    return name.data();
  }
  static std::string why_not(const TLSOptions& options) {
    try {
      const TLSContext made{options};
    } catch (const TLSError& error) {
      return error.what();
    }
    return {};
  }

  const fs::path before_ = fs::current_path();
  fs::path folder_;
  Socket socket_;
};

/// A FIFO would wait for its writer for ever, a device would not end.
TEST_F(TLSFilesTest, RefusesWhatIsNoRegularFile) {
  const std::string large = write("large.pem", "");
  fs::resize_file(large, max_tls_file_size + 1); // of holes
  const std::vector<std::pair<std::string, std::string>> rows{{make_fifo("fifo"), "is a FIFO"},
                                                              {make_directory("directory"), "is a directory"},
                                                              {make_socket("socket"), "is a socket"},
                                                              {"/dev/zero", "is a device"},
                                                              {large, "has more than 67108864 bytes"}};
  const std::vector<std::pair<std::string, std::string TLSOptions::*>> keys{
      {"certificate", &TLSOptions::certificate_file},
      {"key", &TLSOptions::key_file},
      {"ca", &TLSOptions::ca_file},
      {"crl", &TLSOptions::crl_file}};
  for (const auto& [name, key] : keys) {
    for (const auto& [path, why] : rows) {
      TLSOptions options = client_options();
      options.certificate_file = write("good.pem", test_server().certificate_pem());
      options.key_file = write("good.key", test_server().key_pem());
      options.ca_pem.clear();
      options.ca_file = write("ca.pem", test_authority().certificate_pem());
      ASSERT_EQ(why_not(options), "");
      options.*key = path;
      const std::string said = why_not(options);
      EXPECT_NE(said.find(name + " file \"" + path + "\": " + why), std::string::npos) << said;
    }
  }
}

TEST_F(TLSFilesTest, ShowsPathsWithoutWhatIsNoPlainText) {
  const std::string evil = (folder_ / "evil\n\x1b[2J.pem").string();
  TLSOptions options = tls_server_options(evil, evil);
  EXPECT_NE(why_not(options).find(R"(evil\n\x1b[2J.pem": No such file)"), std::string::npos)
      << why_not(options);
  write("evil\n\x1b[2J.pem", "no PEM");
  try {
    const TLSContext made{options};
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string{error.what()}.find(R"(evil\n\x1b[2J.pem" has no certificate)"), std::string::npos)
        << error.what();
  }
  options = client_options();
  options.ca_directory = evil + "/no\tdirectory";
  EXPECT_NE(why_not(options).find(R"(no\tdirectory")"), std::string::npos) << why_not(options);
}

TEST_F(TLSFilesTest, ReadsRelativePathsWhereTheProcessWas) {
  write("server.pem", test_server().certificate_pem());
  write("server.key", test_server().key_pem());
  write("ca.pem", test_authority().certificate_pem());
  write("crl.pem", revocation_list(test_authority(), {}));
  make_directory("authorities");
  write("authorities/" + hashed(test_authority()), test_authority().certificate_pem());
  fs::current_path(folder_);
  TLSOptions options = tls_server_options("server.pem", "./server.key");
  options.client_certificates = ClientCertificates::request;
  options.ca_file = "ca.pem";
  options.ca_directory = "authorities";
  options.crl_file = "crl.pem";
  TLSOptions outer = options;
  outer.server_names = {{"name.example", TLSContext{options}}};
  const TLSContext context{outer};
  fs::current_path("/");
  EXPECT_NO_THROW(static_cast<void>(context.reload()));
  EXPECT_NO_THROW(static_cast<void>(context.reload().reload()));
  fs::remove(folder_ / "crl.pem");
  EXPECT_THROW(static_cast<void>(context.reload()), TLSError) << "it is really read";
}

/// OpenSSL by itself would open its files in the midst of a handshake, and wait for a FIFO among them.
TEST_F(TLSFilesTest, ReadsADirectoryOfAuthoritiesBeforeAnyHandshake) {
  make_directory("authorities");
  const std::string file =
      write("authorities/" + hashed(test_authority()), test_authority().certificate_pem());
  fs::create_symlink("/nowhere", folder_ / "authorities/00000000.0"); // its file has gone
  write("authorities/README", "not named by a hash");
  make_fifo("authorities/not a hash.0");
  TLSOptions options = tls_client_options();
  options.ca_directory = (folder_ / "authorities").string();
  const TLSContext client{options};
  fs::remove(file);
  EXPECT_EQ(verify(test_server(), "localhost", client).reason, CloseReason::none);
  EXPECT_EQ(verify(test_server(), "localhost", client.reload()),
            tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
  make_fifo("authorities/" + hashed(test_authority()));
  EXPECT_NE(why_not(options).find("is a FIFO"), std::string::npos) << why_not(options);
}

/// Only a file that has gone may be missed: with any other error an authority would be left out that somebody relies on.
TEST_F(TLSFilesTest, TellsOfEachFileOfADirectoryThatCannotBeReached) {
  make_directory("authorities");
  const std::string file =
      write("authorities/" + hashed(test_authority()), test_authority().certificate_pem());
  TLSOptions options = tls_client_options();
  options.ca_directory = (folder_ / "authorities").string();
  const fs::path link = folder_ / "authorities/00000000.0";
  const std::pair<fs::path, int> rows[]{{folder_ / "gone", 0},
                                        {link, ELOOP},
                                        {file + "/inside", ENOTDIR},
                                        {std::string(300, 'a'), ENAMETOOLONG}};
  for (const auto& [target, error] : rows) {
    fs::remove(link);
    fs::create_symlink(target, link);
    const std::string said = why_not(options);
    const std::string why = '"' + link.string() + "\": " + std::generic_category().message(error);
    EXPECT_EQ(said.find(why) != std::string::npos, error != 0) << target << ": " << said;
    EXPECT_EQ(said.empty(), error == 0) << said;
  }
}

TEST_F(TLSFilesTest, ReadsListsInADirectoryWhereListsAreAskedFor) {
  const Identity revoked = issue({.dns_names = {"localhost"}}, &test_authority());
  make_directory("authorities");
  write("authorities/" + hashed(test_authority()), test_authority().certificate_pem());
  write("authorities/" + hashed(test_authority(), ".r0"), revocation_list(test_authority(), {&revoked}));
  const Identity other = issue({.common_name = "Other", .is_authority = true});
  TLSOptions options = tls_client_options();
  options.ca_directory = (folder_ / "authorities").string();
  options.crl_pem = revocation_list(other, {});
  const TLSContext client{options};
  EXPECT_EQ(verify(revoked, "localhost", client), tls_error(X509_V_ERR_CERT_REVOKED));
  EXPECT_EQ(verify(test_server(), "localhost", client).reason, CloseReason::none);
}

struct Environment {
  Environment(const char* variable, const std::string& value) : name{variable} {
    ::setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { ::unsetenv(name); }
  const char* name;
};

TEST_F(TLSFilesTest, TrustsTheSystemsAuthoritiesAroundOnesThatAreDamaged) {
  set_log_level(LogLevel::info);
  const std::string first = issue({.common_name = "First", .is_authority = true}).certificate_pem();
  const std::string second = test_authority().certificate_pem();
  const std::string whole = issue({.common_name = "Whole", .is_authority = true}).certificate_pem();
  std::string rubbish = whole;
  rubbish.replace(whole.size() / 2, 4, "!?!?");
  const std::string no_certificate = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
  const std::string rows[]{rubbish, no_certificate, whole.substr(0, whole.size() / 2) + '\n',
                           rubbish + no_certificate};
  for (const std::string& damaged : rows) {
    const Environment file{"SSL_CERT_FILE", write("system.pem", first + "a comment\n" + damaged + second)};
    const Environment no_directory{"SSL_CERT_DIR", "/nowhere"};
    const LogRecorder log;
    const TLSContext client{tls_client_options()};
    EXPECT_EQ(verify(test_server(), "localhost", client).reason, CloseReason::none) << damaged;
    const auto told = log.events("tls_authorities");
    ASSERT_EQ(told.size(), 1u) << damaged;
    EXPECT_EQ(told[0].level, LogLevel::warning);
    EXPECT_EQ(told[0].fields.at("damaged"), &damaged == std::end(rows) - 1 ? "2" : "1");
  }
  const Environment file{
      "SSL_CERT_FILE", write("system.pem", first + test_server().key_pem() + second + whole.substr(0, 100))};
  const LogRecorder log;
  EXPECT_EQ(verify(test_server(), "localhost", TLSContext{tls_client_options()}).reason, CloseReason::none);
  EXPECT_EQ(log.count("tls_authorities"), 1u) << "of the one without an end, not of the key";
}

/// Those of the system are many, and somebody else's: what cannot be used among them is passed over.
TEST_F(TLSFilesTest, ReadsTheSystemsAuthoritiesBeforeAnyHandshake) {
  const std::string directory = make_directory("system");
  const Identity other = issue({.common_name = "Other", .is_authority = true});
  write("system/" + hashed(test_authority()), test_authority().certificate_pem());
  write("system/00000000.0", "-----BEGIN CERTIFICATE-----\nrubbish\n");
  make_fifo("system/00000000.1");
  const std::string file = write("system.pem", other.certificate_pem());
  const Environment of_file{"SSL_CERT_FILE", file};
  const Environment of_directory{"SSL_CERT_DIR", "/nowhere:" + directory};
  const TLSContext client{tls_client_options()};
  fs::remove_all(directory);
  fs::remove(file);
  EXPECT_EQ(verify(test_server(), "localhost", client).reason, CloseReason::none);
  EXPECT_EQ(verify(issue({.dns_names = {"localhost"}}, &other), "localhost", client).reason,
            CloseReason::none);
  EXPECT_EQ(verify(test_server(), "localhost", client.reload()),
            tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
}

TEST_F(TLSFilesTest, AFileOfProcIsReadThoughItSaysThatItIsEmpty) {
  EXPECT_FALSE(read_regular_file("/proc/self/status", 1'000'000).empty());
  EXPECT_THROW(read_regular_file("/proc/self/status", 10), UnreadableFile);
  EXPECT_EQ(read_regular_file(write("empty", ""), 0), "");
  const std::string text = pattern(100'000);
  EXPECT_EQ(read_regular_file(write("text", text), text.size()), text);
  EXPECT_THROW(read_regular_file(write("text", text), text.size() - 1), UnreadableFile);
  EXPECT_THROW(read_regular_file(std::string{"a\0b", 3}, 10), UnreadableFile);
}

// -- the names of addresses

class TLSZone : public TLSTest {};

/// RFC 4007, 11.2: a zone means something on this machine only, and is in no certificate.
TEST_F(TLSZone, IsNoPartOfTheNameOfAnAddress) {
  const Identity server = issue({.ip_addresses = {"::1", "fe80::1"}}, &test_authority());
  const TLSContext client{client_options()};
  for (const char* name : {"::1", "::1%1", "::1%lo", "fe80::1%eth0"})
    EXPECT_EQ(verify(server, name, client).reason, CloseReason::none) << name;
  EXPECT_EQ(verify(server, "fe80::2%1", client), tls_error(X509_V_ERR_IP_ADDRESS_MISMATCH));
  for (const char* name : {"127.0.0.1%1", "localhost%1", "%1", "::1:%"})
    EXPECT_THROW(static_cast<void>(make_tls_transport(make_tcp_pair().first, client, name)),
                 std::invalid_argument)
        << name;
}

// -- the protocol

/// RFC 7301, 3.1: a server chooses among what it was offered; its other bytes would reach who asks for the protocol. Some
/// releases of OpenSSL look themselves; those that do not are as one that believes that more was offered.
TEST_F(TLSTest, AProtocolThatNobodyOfferedIsRefused) {
  enum class Case { offered, not_offered, not_looked_at };
  for (const Case row : {Case::offered, Case::not_offered, Case::not_looked_at}) {
    const bool offered = row == Case::offered;
    auto [ours, theirs] = make_tcp_pair();
    RawTLS peer{std::move(theirs), TLSSide::server, &test_server()};
    static const std::string chosen = "evil\n";
    SSL_CTX_set_alpn_select_cb(
        peer.ctx(),
        [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char*, unsigned int, void*) {
          *out = reinterpret_cast<const unsigned char*>(chosen.data());
          *size = static_cast<unsigned char>(chosen.size());
          return SSL_TLSEXT_ERR_OK;
        },
        nullptr);
    TLSOptions options = client_options();
    options.alpn = {"good", offered ? chosen : "other"};
    const TLSContext context{options};
    if (row == Case::not_looked_at) {
      constexpr unsigned char wire[] = "\4good\5evil\n";
      ASSERT_EQ(SSL_CTX_set_alpn_protos(TLSContextState::of(context).ctx.get(), wire, sizeof wire - 1), 0);
    }
    IOStream stream{loop, make_tls_transport(std::move(ours), context, "localhost")};
    TestWait done{stream, StreamEvent::handshaken};
    ASSERT_TRUE(run_until([&] {
      peer.shake();
      return done.answered();
    }));
    EXPECT_EQ(done.succeeded(), offered);
    if (!offered) {
      EXPECT_EQ(done.error(), tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_BAD_EXTENSION)));
    }
  }
}

} // namespace

} // namespace squall
