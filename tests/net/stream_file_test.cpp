// SPDX-License-Identifier: BSD-3-Clause
//
// stream_file_test.cpp: writes of several pieces and of files; on every transport.
#include "tests/net/stream_sides.hpp"
#include <squall/net/file.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace squall {

namespace {

using namespace testing_support;

class PiecesTest : public SidesTest {};
class WriteFileTest : public SidesTest {
protected:
  WriteFileTest() {
    folder_ = std::filesystem::temp_directory_path() / "squall-test-XXXXXX";
    if (::mkdtemp(folder_.data()) == nullptr)
      throw std::system_error{errno, std::generic_category(), folder_};
  }
  ~WriteFileTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path(const std::string& name = "file") const { return folder_ + '/' + name; }
  std::string make_file(const std::string& content) {
    std::ofstream{path(), std::ios::binary} << content;
    return path();
  }

  /// How a write is refused at once.
  StreamError refusal_of(const WriteFile& request) {
    TestEnd write;
    const auto refused = stream().start_write_file(request, write);
    EXPECT_TRUE(refused.has_value());
    return refused.value_or(StreamError{{}, {}, {}});
  }
  static StreamError file_error(int error) {
    return {StreamErrc::file_failed, CloseReason::none, {error, std::generic_category()}};
  }

private:
  std::string folder_;
};
SQUALL_STREAM_CONTRACT(PiecesTest);
SQUALL_STREAM_CONTRACT(WriteFileTest);

TEST_P(PiecesTest, ArriveInOrderAsOneWrite) {
  int told = 0;
  stream().write_pieces({"one ", "", "two ", "three"}, [&](Result<void> result) {
    ++told;
    EXPECT_TRUE(result.has_value());
  });
  receive(13);
  ASSERT_TRUE(run_until([&] { return told == 1; }));
  EXPECT_EQ(peer().received, "one two three");
}

TEST_P(PiecesTest, AreQueuedAllOrNone) {
  relink({.max_write_buffer_size = 10});
  using Pieces = std::vector<Bytes>;
  auto run = [](IOStream out, Pieces exact, Pieces one_above) -> Task<> {
    co_await out.write_pieces(exact);
    bool full = false;
    try {
      co_await out.write_pieces(one_above);
    } catch (const StreamBufferFullError&) {
      full = true;
    }
    EXPECT_TRUE(full);
    EXPECT_TRUE((co_await out.write_pieces(Pieces{}).as_result()).has_value());
  };
  start(run(stream(), {"12345", "67890"}, {"12345", "678901"}));
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  stream().close();
  receive_all();
  EXPECT_EQ(peer().received, "1234567890");
}

TEST_P(WriteFileTest, SendsTheWholeFileBetweenOtherWrites) {
  const std::string content = pattern(3'000'000);
  static_cast<void>(stream().write("before "));
  static_cast<void>(stream().write_file(make_file(content)));
  TestWrite after{stream(), " after"};
  receive(content.size() + 13);
  EXPECT_EQ(peer().received, "before " + content + " after");
  await(after);
  EXPECT_EQ(stream().bytes_sent(), content.size() + 13);
}

TEST_P(WriteFileTest, SendsAPartOfAnOpenFile) {
  const File file = File::open(make_file("0123456789"));
  static_cast<void>(stream().write_file(file, 2, 3));
  static_cast<void>(stream().write_file(file, 7));
  static_cast<void>(stream().write_file(file, 0, 0));
  static_cast<void>(stream().write_file(file, 10));
  receive(6);
  EXPECT_EQ(peer().received, "234789");
}

TEST_P(WriteFileTest, IsDoneWhenTheSystemTookEverything) {
  const std::string content = pattern(8'000'000);
  TestEnd write;
  write.take(stream().start_write_file(WriteFile{make_file(content)}, write));
  run_turns(loop, 20);
  EXPECT_FALSE(write.answered());
  EXPECT_GT(stream().unsent_size(), 0u);
  receive(content.size());
  await(write);
  EXPECT_TRUE(write.succeeded());
  EXPECT_EQ(peer().received, content);
}

TEST_P(WriteFileTest, TakesNoPlaceInTheWriteBuffer) {
  relink({.max_write_buffer_size = 10});
  const std::string content = pattern(2'000'000);
  const std::string name = make_file(content);
  static_cast<void>(stream().write_file(name));
  TestWrite ten{stream(), "1234567890"};
  TestWrite more{stream(), "x"};
  receive(content.size() + 10);
  await(ten);
  EXPECT_TRUE(ten.succeeded());
  EXPECT_EQ(more.error().code, StreamErrc::buffer_full);
  EXPECT_EQ(peer().received, content + "1234567890");
}

TEST_P(WriteFileTest, RefusesWhatIsNotThereAndQueuesNothing) {
  const std::string name = make_file("12345");
  EXPECT_EQ(refusal_of(WriteFile{path("none")}), file_error(ENOENT));
  EXPECT_EQ(refusal_of(WriteFile{std::filesystem::temp_directory_path().string()}), file_error(EINVAL))
      << "a folder";
  EXPECT_EQ(refusal_of(WriteFile{File{}}), file_error(EBADF));
  EXPECT_EQ(refusal_of(WriteFile{name, 6}), file_error(ENODATA));
  EXPECT_EQ(refusal_of(WriteFile{name, 2, 4}), file_error(ENODATA));
  EXPECT_EQ(refusal_of(WriteFile{name, ~std::uint64_t{0}, 1}), file_error(ENODATA));
  EXPECT_EQ(refusal_of(WriteFile{name, 1, ~std::uint64_t{0}}), file_error(ENODATA));
  EXPECT_EQ(stream().unsent_size(), 0u);
  TestEnd rest;
  rest.take(stream().start_write_file(WriteFile{name, 2, 3}, rest));
  await(rest);
  EXPECT_TRUE(rest.succeeded()) << "exactly to the end";
}

TEST_P(WriteFileTest, WaitsForNobodyAndRefusesWhatIsNoFile) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(refusal_of(WriteFile{path("fifo")}), file_error(EINVAL)) << "though nobody writes to it";
  EXPECT_EQ(refusal_of(WriteFile{path() + std::string{"\0x", 2}}), file_error(EINVAL));
  const std::string name = make_file("12345");
  const File write_only{Socket{::open(name.c_str(), O_WRONLY | O_CLOEXEC)}};
  EXPECT_EQ(refusal_of(WriteFile{write_only}), file_error(EBADF));
  EXPECT_FALSE(stream().closed());
}

TEST_P(WriteFileTest, ThrowsAFileErrorInACoroutine) {
  bool thrown = false;
  auto run = [](IOStream out, std::string name, bool& seen) -> Task<> {
    try {
      co_await out.write_file(name);
    } catch (const FileError& error) {
      seen = error.error().real_error == std::errc::no_such_file_or_directory;
    }
  };
  start(run(stream(), path("none"), thrown));
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_TRUE(thrown);
}

TEST_P(WriteFileTest, ClosesTheStreamWhenTheFileBecomesShorter) {
  const std::string name = make_file(pattern(8'000'000));
  TestEnd write;
  write.take(stream().start_write_file(WriteFile{name}, write));
  run_turns(loop, 20);
  ASSERT_FALSE(write.answered());
  std::filesystem::resize_file(name, 1);
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return write.answered();
  }));
  EXPECT_EQ(
      write.error(),
      (StreamError{StreamErrc::closed, CloseReason::transport_error, {ENODATA, std::generic_category()}}));
}

TEST_P(WriteFileTest, IsHandedOverByACloseThatFlushes) {
  const std::string content = pattern(4'000'000);
  TestEnd write;
  write.take(stream().start_write_file(WriteFile{make_file(content)}, write));
  TestEnd closing;
  closing.take(stream().start_close_after_flush(10s, closing));
  receive_all();
  EXPECT_EQ(peer().received, content);
  peer().close();
  await(closing);
  EXPECT_TRUE(write.succeeded());
}

TEST_P(WriteFileTest, FailsWithTheStream) {
  TestEnd write;
  write.take(stream().start_write_file(WriteFile{make_file(pattern(8'000'000))}, write));
  stream().abort();
  await(write);
  EXPECT_EQ(write.error(), closed_by(CloseReason::aborted));
  EXPECT_EQ(refusal_of(WriteFile{path()}), closed_by(CloseReason::aborted));
}

} // namespace

} // namespace squall
