// SPDX-License-Identifier: BSD-3-Clause
//
// caf_compat.hpp: the public types that CAF's versions spell differently. Squall says everything in the words
// of CAF 0.18 and later; this header translates them for 0.17.6, the version of Debian 12 and 13.
#pragma once

#include <caf/all.hpp>

#include <tuple>

namespace squall {

namespace detail {

template <class Signature>
struct TranslateSignature;
template <class... Out, class... In>
struct TranslateSignature<caf::result<Out...>(In...)> {
  using type = typename caf::replies_to<In...>::template with<Out...>;
};

/// The one reply type of a list: void for none, a tuple for several.
template <class Outs>
struct SingleReply;
template <>
struct SingleReply<caf::detail::type_list<>> {
  using type = void;
};
template <>
struct SingleReply<caf::detail::type_list<void>> {
  using type = void;
};
template <class T>
struct SingleReply<caf::detail::type_list<T>> {
  using type = T;
};
template <class T, class U, class... Ts>
struct SingleReply<caf::detail::type_list<T, U, Ts...>> {
  using type = std::tuple<T, U, Ts...>;
};

/// What `Handle` replies to a request of `In...`.
template <class Handle, class... In>
using ReplyOf = typename SingleReply<
    caf::response_type_t<typename Handle::signatures, caf::detail::implicit_conversions_t<In>...>>::type;

} // namespace detail

/// A typed actor handle, from signatures of the form caf::result<Out...>(In...).
template <class... Signatures>
using TypedActor = caf::typed_actor<typename detail::TranslateSignature<Signatures>::type...>;

} // namespace squall
