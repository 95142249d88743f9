// SPDX-License-Identifier: BSD-3-Clause
//
// stream_messages.cpp: StreamError as caf::error, and what CAF has to know of the messages.
#include <squall/net/resolver.hpp>
#include <squall/net/tls_info.hpp>
#include <squall/stream_actor.hpp>

namespace squall {

namespace {

constexpr caf::atom_value stream_atom = caf::atom("squall");
constexpr caf::atom_value listener_atom = caf::atom("squall-lis");

/// Which category the number of a real error belongs to.
enum class ErrorSource : std::uint8_t { none, system, stream, tls, lookup };

ErrorSource source_of(const std::error_code& error) noexcept {
  if (!error)
    return ErrorSource::none;
  if (error.category() == stream_category())
    return ErrorSource::stream;
  if (error.category() == tls_category())
    return ErrorSource::tls;
  return error.category() == lookup_category() ? ErrorSource::lookup : ErrorSource::system;
}

std::error_code to_error_code(ErrorSource source, std::int32_t value) {
  switch (source) {
  case ErrorSource::system:
    return {value, std::generic_category()};
  case ErrorSource::stream:
    return {value, stream_category()};
  case ErrorSource::tls:
    return {value, tls_category()};
  case ErrorSource::lookup:
    return {value, lookup_category()};
  case ErrorSource::none:
    break;
  }
  return {};
}

std::string listener_text(const caf::error& error) {
  const auto& context = error.context();
  return context.match_elements<std::string>() ? context.get_as<std::string>(0)
                                               : "the listener refused a request";
}

} // namespace

caf::error make_error(const StreamError& error) {
  return {static_cast<std::uint8_t>(error.code), stream_atom,
          caf::make_message(static_cast<std::uint8_t>(error.reason),
                            static_cast<std::uint8_t>(source_of(error.real_error)),
                            static_cast<std::int32_t>(error.real_error.value()), error.stream)};
}

caf::error make_error(const StreamError& error, std::string text) {
  return {static_cast<std::uint8_t>(error.code), stream_atom,
          caf::make_message(
              static_cast<std::uint8_t>(error.reason), static_cast<std::uint8_t>(source_of(error.real_error)),
              static_cast<std::int32_t>(error.real_error.value()), error.stream, std::move(text))};
}

caf::error make_error(ListenerErrc code, std::string text) {
  return {static_cast<std::uint8_t>(code), listener_atom, caf::make_message(std::move(text))};
}

std::optional<StreamError> stream_error(const caf::error& error) {
  if (!error || error.category() != stream_atom)
    return std::nullopt;
  StreamError result{static_cast<StreamErrc>(error.code()), CloseReason::none, {}};
  const auto& context = error.context();
  if (context.match_elements<std::uint8_t, std::uint8_t, std::int32_t, std::uint32_t>() ||
      context.match_elements<std::uint8_t, std::uint8_t, std::int32_t, std::uint32_t, std::string>()) {
    result.stream = context.get_as<std::uint32_t>(3);
    result.reason = static_cast<CloseReason>(context.get_as<std::uint8_t>(0));
    result.real_error = to_error_code(static_cast<ErrorSource>(context.get_as<std::uint8_t>(1)),
                                      context.get_as<std::int32_t>(2));
  }
  return result;
}

std::optional<StreamClosedError> stream_closed(const caf::error& error) {
  if (error == caf::exit_reason::remote_link_unreachable)
    return StreamClosedError{StreamError{StreamErrc::closed, CloseReason::node_lost, {}}};
  const auto found = stream_error(error);
  if (!found || found->code != StreamErrc::closed)
    return std::nullopt;
  return StreamClosedError{*found};
}

std::string error_text(const caf::error& error) {
  if (!error)
    return "no error";
  if (const auto found = stream_error(error))
    return error.context().size() == 5 ? error.context().get_as<std::string>(4) : to_string(*found);
  if (error.category() == listener_atom)
    return listener_text(error);
  const auto& context = error.context();
  std::string text =
      error.category() == caf::atom("system") ? caf::to_string(static_cast<caf::sec>(error.code()))
      : error.category() == caf::atom("exit") ? caf::to_string(static_cast<caf::exit_reason>(error.code()))
                                              : caf::to_string(error);
  if (context.match_elements<std::string>())
    text.append(": ").append(context.get_as<std::string>(0));
  return text;
}

void init_messages(caf::actor_system_config& config) {
  config.add_message_types<caf::id_block::squall>();
  config.add_message_type<StreamActor>("squall::StreamActor"); // the answer of a client
  config.add_error_category(stream_atom,
                            [](std::uint8_t code, caf::atom_value category, const caf::message& context) {
                              return error_text(caf::error{code, category, context});
                            });
  config.add_error_category(listener_atom,
                            [](std::uint8_t code, caf::atom_value category, const caf::message& context) {
                              return error_text(caf::error{code, category, context});
                            });
}

} // namespace squall
