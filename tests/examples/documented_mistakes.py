# SPDX-License-Identifier: BSD-3-Clause
"""docs/configuration.md shows what echo_server really says of a configuration full of mistakes."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(HERE, "..", "..", "docs", "configuration.md")


class DocumentedMistakes(unittest.TestCase):
    def test_the_document_shows_the_real_output(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(HERE, "mistakes.json"), os.path.join(folder, "server.json"))
            run = subprocess.run([os.path.join(os.path.abspath(sys.argv[1]), "echo_server"), "--check", "--config", "server.json"],
                                 cwd=folder, capture_output=True, text=True, timeout=30)
        self.assertEqual(run.returncode, 2)
        self.assertEqual(run.stdout, "")
        with open(DOCUMENT, encoding="utf-8") as file:
            self.assertIn("```text\n" + run.stderr + "```\n", file.read())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
