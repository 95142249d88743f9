// SPDX-License-Identifier: BSD-3-Clause
//
// config_tls.hpp: the schema of TLS.
#pragma once

#include "actors/config_reader.hpp"
#include <squall/net/tls_context.hpp>

namespace squall {

/// Reads an object of TLS and makes its context, which reads the files that it names.
void read_tls(const ConfigValue& value, TLSSide side, TLSContext& target);

} // namespace squall
