#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
#
# harden.py: what SQUALL_HARDEN makes of the configurations of a project that has Squall by add_subdirectory; told by
# the commands that compile it.
# harden.py CMAKE COMPILER
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

CMAKE, COMPILER = sys.argv[1:3]
SQUALL = pathlib.Path(__file__).resolve().parents[2]
PROJECT = f"""cmake_minimum_required(VERSION 3.25)
project(around LANGUAGES CXX)
BEFORE
add_subdirectory("{SQUALL}" squall)
"""


class Hardening(unittest.TestCase):
    def commands(self, *options, before="", compiler=COMPILER):
        """The commands that compile net/errors.cpp, by the folder of their configuration."""
        folder = self.make_folder()
        (folder / "CMakeLists.txt").write_text(PROJECT.replace("BEFORE", before), encoding="utf-8")
        build = folder / "build"
        done = subprocess.run([CMAKE, "-S", folder, "-B", build, f"-DCMAKE_CXX_COMPILER={compiler}",
                               "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DCMAKE_CXX_COMPILER_LAUNCHER=", *options],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)
        found = {}
        for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
            if entry["file"].endswith("/net/errors.cpp"):
                words = shlex.split(entry["command"])
                output = pathlib.Path(words[words.index("-o") + 1])
                found[output.parent.name] = words
                check = [*words, "-fsyntax-only", "-Werror"]  # no warning of a macro that is defined anew
                compiled = subprocess.run(check, cwd=entry["directory"], text=True, timeout=60,
                                          stderr=subprocess.PIPE)
                self.assertEqual(compiled.returncode, 0, compiled.stderr)
        return found

    def make_folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def level(self, words):
        """What is left of _FORTIFY_SOURCE at the end of the command: None, or its value."""
        value = None
        for word in words:
            if match := re.fullmatch(r"-([UD])_FORTIFY_SOURCE(?:=(\d+))?", word):
                value = match.group(2) if match.group(1) == "D" else None
        return value

    def test_fortifies_the_optimized_ones_of_several_configurations(self):
        found = self.commands("-G", "Ninja Multi-Config")
        self.assertEqual({name: self.level(words) for name, words in found.items()},
                         {"Debug": None, "Release": "3", "RelWithDebInfo": "3"})
        for words in found.values():
            self.assertIn("-fstack-protector-strong", words)

    def test_fortifies_the_only_configuration_when_it_is_optimized(self):
        for options, level in ((["-DCMAKE_BUILD_TYPE=Release"], "3"), (["-DCMAKE_BUILD_TYPE=Debug"], None), ([], None),
                               (["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-Og"], "3"),
                               (["-DCMAKE_CXX_FLAGS=-O2"], "3")):
            found = self.commands("-G", "Ninja", *options)
            self.assertEqual([self.level(words) for words in found.values()], [level], options)

    def test_replaces_a_level_that_the_project_has_set(self):
        release = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
        for level in (2, 3):
            found = self.commands(*release, f"-DCMAKE_CXX_FLAGS=-D_FORTIFY_SOURCE={level}")
            self.assertEqual([self.level(words) for words in found.values()], ["3"])
        for before in ("add_compile_options(-D_FORTIFY_SOURCE=3)", "add_compile_definitions(_FORTIFY_SOURCE=1)"):
            found = self.commands(*release, before=before)
            self.assertEqual([self.level(words) for words in found.values()], ["3"])

    def test_takes_the_level_that_the_compiler_has(self):
        old = self.make_folder() / "c++"
        old.write_text(f'#!/bin/sh\ncase "$*" in *_FORTIFY_SOURCE=3*) exit 1 ;; esac\nexec {COMPILER} "$@"\n',
                       encoding="utf-8")
        old.chmod(0o755)
        found = self.commands("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", compiler=old)
        self.assertEqual([self.level(words) for words in found.values()], ["2"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
