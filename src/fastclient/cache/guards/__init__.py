"""The verifier of the semantic cache: whether the answer stored for one question may be served for another."""

from fastclient.cache.guards.text import Text, analyse
from fastclient.cache.guards.verifier import Kind, Verdict, Verifier, verifier, verify

__all__ = ["Kind", "Text", "Verdict", "Verifier", "analyse", "verifier", "verify"]
