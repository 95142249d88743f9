// SPDX-License-Identifier: BSD-3-Clause
//
// errors_test.cpp: errors as values, texts and exceptions.
#include <squall/net/errors.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace squall {

namespace {

constexpr StreamErrc all_codes[] = {StreamErrc::closed,           StreamErrc::already_reading,
                                    StreamErrc::buffer_full,      StreamErrc::unsatisfiable_read,
                                    StreamErrc::invalid_argument, StreamErrc::memory_budget};

const std::error_code connection_reset = std::make_error_code(std::errc::connection_reset);

TEST(StreamError, HasATextOfItsOwnForEachCodeAndReason) {
  std::set<std::string> texts;
  for (const StreamErrc code : all_codes)
    texts.insert(to_string(code));
  for (int reason = 0; reason <= 8; ++reason)
    texts.insert(to_string(static_cast<CloseReason>(reason)));
  EXPECT_EQ(texts.size(), std::size(all_codes) + 9);
  EXPECT_FALSE(texts.contains("unknown stream error"));
  EXPECT_FALSE(texts.contains("unknown reason"));
}

TEST(StreamError, SaysWhyTheStreamClosed) {
  EXPECT_EQ(to_string(StreamError{StreamErrc::closed, CloseReason::reset, connection_reset}),
            "stream is closed: connection broken (Connection reset by peer)");
  EXPECT_EQ(to_string(StreamError{StreamErrc::closed, CloseReason::peer_closed, {}}),
            "stream is closed: closed by the peer");
  EXPECT_EQ(to_string(StreamError{StreamErrc::already_reading, CloseReason::none, {}}),
            to_string(StreamErrc::already_reading));
}

TEST(StreamError, SurvivesANumberThatIsNone) { // numbers travel in messages
  EXPECT_STREQ(to_string(static_cast<StreamErrc>(200)), "unknown stream error");
  EXPECT_STREQ(to_string(static_cast<CloseReason>(200)), "unknown reason");
}

TEST(StreamError, ConvertsToAnErrorCode) {
  const std::error_code code = StreamErrc::unsatisfiable_read;
  EXPECT_EQ(code.category(), stream_category());
  EXPECT_STREQ(code.category().name(), "squall");
  EXPECT_EQ(code.message(), to_string(StreamErrc::unsatisfiable_read));
  EXPECT_EQ(code, StreamErrc::unsatisfiable_read);
  EXPECT_NE(code, StreamErrc::buffer_full);
}

TEST(StreamError, IsThrownAsTheClassThatFitsIt) {
  EXPECT_THROW(throw_error({StreamErrc::closed, CloseReason::reset, {}}), StreamClosedError);
  EXPECT_THROW(throw_error({StreamErrc::buffer_full, CloseReason::none, {}}), StreamBufferFullError);
  EXPECT_THROW(throw_error({StreamErrc::already_reading, CloseReason::none, {}}), StreamUsageError);
  EXPECT_THROW(throw_error({StreamErrc::invalid_argument, CloseReason::none, {}}), StreamUsageError);
  for (const StreamErrc code : all_codes)
    EXPECT_THROW(throw_error({code, CloseReason::none, {}}), StreamException);
}

TEST(StreamError, KeepsEverythingInItsException) {
  const StreamError error{StreamErrc::closed, CloseReason::reset, connection_reset};
  try {
    throw_error(error);
  } catch (const StreamClosedError& thrown) {
    EXPECT_EQ(thrown.error(), error);
    EXPECT_EQ(thrown.code(), StreamErrc::closed);
    EXPECT_EQ(thrown.reason(), CloseReason::reset);
    EXPECT_EQ(thrown.real_error(), connection_reset);
    EXPECT_EQ(thrown.what(), to_string(error));
  }
}

TEST(StreamError, SaysTheSameWhosesoeverItIs) {
  const StreamError one{StreamErrc::timed_out, CloseReason::none, {}, 1};
  const StreamError other{StreamErrc::timed_out, CloseReason::none, {}, 2};
  EXPECT_EQ(one, other);
  EXPECT_EQ(to_string(one), to_string(other));
  EXPECT_EQ(sizeof(StreamError), 24U) << "who is the owner costs a result nothing";
  try {
    throw_error(other);
  } catch (const StreamException& thrown) {
    EXPECT_EQ(thrown.stream(), 2U);
  }
}

TEST(Result, HoldsAValue) {
  Result<std::string> result{"hello"};
  ASSERT_TRUE(result.has_value());
  EXPECT_TRUE(static_cast<bool>(result));
  EXPECT_EQ(*result, "hello");
  EXPECT_EQ(result->size(), 5u);
  EXPECT_EQ(result.value(), "hello");
  EXPECT_EQ(std::move(result).value(), "hello");
}

TEST(Result, HoldsAValueThatCanOnlyMove) {
  Result<std::unique_ptr<int>> result{std::make_unique<int>(7)};
  const std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 7);
}

TEST(Result, HoldsAnErrorAndThrowsItInsteadOfAValue) {
  Result<std::string> result{StreamError{StreamErrc::closed, CloseReason::reset, connection_reset}};
  EXPECT_FALSE(result.has_value());
  EXPECT_EQ(result.error().real_error, connection_reset);
  EXPECT_THROW(static_cast<void>(result.value()), StreamClosedError);
  EXPECT_THROW(static_cast<void>(std::move(result).value()), StreamClosedError);
}

TEST(Result, MayHoldNothingButSuccess) {
  const Result<void> success;
  EXPECT_TRUE(success.has_value());
  EXPECT_NO_THROW(success.value());
  const Result<void> failure{StreamError{StreamErrc::buffer_full, CloseReason::none, {}}};
  EXPECT_FALSE(static_cast<bool>(failure));
  EXPECT_EQ(failure.error().code, StreamErrc::buffer_full);
  EXPECT_THROW(failure.value(), StreamBufferFullError);
}

} // namespace

} // namespace squall
