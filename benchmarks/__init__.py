"""The speed of this project, compared with a bare loop and with the usual Lightning code. Not part of the tests."""
