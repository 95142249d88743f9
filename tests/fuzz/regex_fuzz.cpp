// SPDX-License-Identifier: BSD-3-Clause
//
// regex_fuzz.cpp: any pattern that is accepted matches as in RE2; any that is refused is refused for a reason.
#include "tests/fuzz/require.hpp"
#include "tests/net/regex_support.hpp"

#include <fuzzer/FuzzedDataProvider.h>
#include <stdexcept>

namespace squall {
namespace {

void check_regex(FuzzedDataProvider& data) {
  const std::string pattern = data.ConsumeRandomLengthString(40);
  std::vector<std::size_t> ends(data.ConsumeIntegralInRange<std::size_t>(0, 8));
  for (std::size_t i = 0; i < ends.size(); ++i)
    ends[i] = (i == 0 ? 0 : ends[i - 1]) + data.ConsumeIntegralInRange<std::size_t>(0, 8);
  const std::string text = data.ConsumeRemainingBytesAsString().substr(0, 64);
  for (std::size_t& end : ends)
    end = std::min(end, text.size());
  ends.push_back(text.size());
  try {
    const Regex regex{pattern};
    require(found_in_pieces(regex, text, ends) == first_end(pattern, text), "the match ends as in RE2");
  } catch (const std::invalid_argument& error) {
    re2::RE2::Options quiet{re2::RE2::Latin1};
    quiet.set_log_errors(false);
    require(!re2::RE2{pattern, quiet}.ok() || !std::string_view{error.what()}.ends_with("not supported"),
            "the structure of what RE2 accepts is understood");
  }
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider provider{data, size};
  squall::check_regex(provider);
  return 0;
}
