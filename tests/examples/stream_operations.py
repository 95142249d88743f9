#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# stream_operations.py: the examples of stream operations check each outcome themselves, against peers of their own.
import unittest

import support

LAST_LINE = "all operations done\n"


class StreamOperations(unittest.TestCase):
    def assert_runs(self, example):
        done = support.run_example(example)
        self.assertEqual((done.stdout, done.stderr, done.returncode), (LAST_LINE, "", 0))

    def test_reads(self):
        self.assert_runs("stream_reads")

    def test_writes(self):
        self.assert_runs("stream_writes")

    def test_closes(self):
        self.assert_runs("stream_closes")

    def test_callbacks(self):
        self.assert_runs("stream_callbacks")

    def test_messages(self):
        self.assert_runs("stream_messages")


if __name__ == "__main__":
    support.main()
