#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
#
# hardened.py: a program that is built with SQUALL_HARDEN has what that promises (SECURITY.md); told by readelf and objdump.
# hardened.py EXAMPLES_DIR
import platform
import re
import subprocess
import unittest

from support import example_path, main


def run(tool, *arguments):
    return subprocess.run([tool, *arguments, example_path("echo_server")], check=True, text=True,
                          stdout=subprocess.PIPE, timeout=20).stdout


def readelf(*arguments):
    return run("readelf", "--wide", *arguments)


class HardenedProgram(unittest.TestCase):
    def test_is_loaded_at_any_address(self):
        self.assertRegex(readelf("--file-header"), r"Type:\s+DYN")

    def test_has_no_writable_tables_of_functions(self):
        self.assertIn("GNU_RELRO", readelf("--segments"))
        self.assertRegex(readelf("--dynamic"), r"BIND_NOW|Flags:.*\bNOW\b")

    def test_has_no_stack_that_can_be_executed(self):
        stack = [line for line in readelf("--segments").splitlines() if "GNU_STACK" in line]
        self.assertEqual(len(stack), 1)
        self.assertNotIn("RWE", stack[0])

    def test_checks_its_stack(self):
        self.assertRegex(readelf("--symbols"), r"\b__stack_chk_fail\b")

    def test_checks_its_copies(self):
        self.assertRegex(readelf("--symbols"), r"\b__\w+_chk\b(?<!__stack_chk)")

    @unittest.skipUnless(platform.machine() == "x86_64", "CET is of x86")
    def test_marks_where_calls_may_go(self):
        code = run("objdump", "--disassemble=main", "--no-show-raw-insn")
        first = re.search(r"<main>:\n\s*[0-9a-f]+:\s+(\w+)", code)
        self.assertIsNotNone(first, code)
        self.assertEqual(first.group(1), "endbr64")


if __name__ == "__main__":
    main()
