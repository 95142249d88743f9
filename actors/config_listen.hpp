// SPDX-License-Identifier: BSD-3-Clause
//
// config_listen.hpp: reads an entry of "listen" of a configuration.
#pragma once

#include "actors/config_reader.hpp"
#include <squall/config.hpp>

#include <optional>

namespace squall {

/// @param own_tls  what the entry says of TLS; nullopt: nothing
void read_listener(const ConfigValue& value, ListenOptions& target, std::optional<TLSContext>& own_tls);

} // namespace squall
