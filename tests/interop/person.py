"""The person of `person.mjs`, for programs in Python."""

import os
import subprocess


class Person:
    def __init__(self, name):
        environment = os.environ
        self.process = subprocess.Popen(
            ["node", environment["PERSON"], name, environment["ISSUER"], environment["APP_URL"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go_to(self, url, app=None):
        """Where the app takes over, and what the person did on the way."""
        self.process.stdin.write(f"{url} {app}\n" if app else f"{url}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the person did not get back to the app"
        end, actions = line.split()
        return end, actions

    def leave(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
