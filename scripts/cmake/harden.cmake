# SPDX-License-Identifier: BSD-3-Clause
#
# SQUALL_HARDEN: what turns a memory error into the end of the process instead of a way in. Each flag where the compiler has
# it; none of it reaches those who link Squall. Not beside a sanitizer, which finds more and does not mix with it.
include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)
include(CheckLinkerFlag)

if(NOT SQUALL_HARDEN OR SQUALL_SANITIZE)
  return()
endif()

# The name of a cached check: letters, digits and underscores of the flag.
function(squall_harden_compile FLAG)
  string(MAKE_C_IDENTIFIER "SQUALL_HAS${FLAG}" has)
  check_cxx_compiler_flag("-Werror ${FLAG}" ${has})
  if(${has})
    target_compile_options(squall_build_options INTERFACE "${FLAG}")
  endif()
endfunction()

function(squall_harden_link FLAG)
  string(MAKE_C_IDENTIFIER "SQUALL_LINKS${FLAG}" has)
  check_linker_flag(CXX "${FLAG}" ${has})
  if(${has})
    target_link_options(squall_build_options INTERFACE "${FLAG}")
  endif()
endfunction()

squall_harden_compile(-fstack-protector-strong) # overwritten return addresses
squall_harden_compile(-fstack-clash-protection) # a stack that jumps over its guard page
squall_harden_compile(-fcf-protection=full)     # jumps and returns to where none belong (CET); x86 only
squall_harden_link(-Wl,-z,relro)                # tables of functions are read-only...
squall_harden_link(-Wl,-z,now)                  # ...all of them, from the start

# Copies beyond a buffer whose size is known where it is used. glibc's headers want optimization for it, and warn without. What
# a distribution's compiler has set already is taken back first: a second value would be an error.
set(CMAKE_TRY_COMPILE_CONFIGURATION "${CMAKE_BUILD_TYPE}")
check_cxx_source_compiles("#ifndef __OPTIMIZE__\n#error\n#endif\nint main() {}" "SQUALL_OPTIMIZES_${CMAKE_BUILD_TYPE}")
if(SQUALL_OPTIMIZES_${CMAKE_BUILD_TYPE})
  target_compile_options(squall_build_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()
