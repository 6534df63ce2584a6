"""What the tests of real WebUIs need inside the host's process; never shipped."""
