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

# Copies beyond a buffer whose size is known where it is used. glibc's headers want optimization for it, and warn without: so
# each configuration is looked at by itself, with its flags, which a project around this one may have set. What those flags, or
# a distribution's compiler, have set is taken back first: a second value would be an error. SHELL: keeps both together, where
# CMake would drop the second one that is there already.
function(squall_harden_copies CONFIG)
  string(TOUPPER "${CONFIG}" config)
  string(MD5 flags "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${config}}") # a cached check is of these
  set(CMAKE_TRY_COMPILE_CONFIGURATION "${CONFIG}")
  foreach(level IN ITEMS 3 2)
    set(fortify "-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${level}")
    set(CMAKE_REQUIRED_FLAGS "-Werror ${fortify}")
    set(has "SQUALL_FORTIFIES_${level}_${config}_${flags}")
    check_cxx_source_compiles("#include <cstring>
      #if !defined __OPTIMIZE__ || !defined __USE_FORTIFY_LEVEL || __USE_FORTIFY_LEVEL < ${level}
      #error
      #endif
      int main() {}" ${has})
    if(${has})
      target_compile_options(squall_build_options INTERFACE "$<$<CONFIG:${CONFIG}>:SHELL:${fortify}>")
      return()
    endif()
  endforeach()
endfunction()

get_property(squall_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(squall_multi_config)
  foreach(config IN LISTS CMAKE_CONFIGURATION_TYPES)
    squall_harden_copies("${config}")
  endforeach()
else()
  squall_harden_copies("${CMAKE_BUILD_TYPE}")
endif()
