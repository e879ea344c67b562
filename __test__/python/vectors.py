"""The vectors of the wire, read by what a client in Python has: its own classes, and the packages under them."""

import base64
import hashlib
import hmac
import json
import math
import pathlib
import unittest
import zlib

import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from wse_client.compression import CompressionHandler
from wse_client.msgpack_handler import MsgPackHandler
from wse_client.security import SecurityManager

FOLDER = pathlib.Path(__file__).parents[2] / "spec" / "vectors"
# What permessage-deflate leaves out behind each message (RFC 7692 section 7.2.1).
TAIL = bytes.fromhex("0000ffff")
# The secret of a ticket's key is told apart from every other use of it.
TICKET_INFO = b"wse-tickets/hmac-key"


def read(name):
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def from_json(text, exact):
    """JSON as JavaScript reads it: integers outside of `exact` are doubles, and half a surrogate pair is U+FFFD."""
    value = json.loads(text, parse_int=lambda digits: int(digits) if int(digits) in exact else float(digits))
    written = json.dumps(value, ensure_ascii=False)
    return json.loads(written.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


class Compression(unittest.TestCase):
    def inflate(self, stream, bits):
        """The text of one whole stream, and nothing behind it."""
        inflater = zlib.decompressobj(bits)
        text = inflater.decompress(stream) + inflater.flush()
        if not inflater.eof or inflater.unused_data:
            raise zlib.error("not one whole stream")
        return text.decode()

    def test_streams(self):
        for case in read("compress")["zlib"]:
            with self.subTest(case["name"]):
                stream = bytes.fromhex(case["stream"])
                if "text" in case:
                    self.assertEqual(CompressionHandler().decompress(stream).decode(), case["text"])
                elif case["fault"] == "TooLarge":
                    most = min(case.get("max_bytes", 1 << 20), case.get("max_ratio", 200) * len(stream))
                    self.assertGreater(len(zlib.decompress(stream)), most)
                else:
                    self.assertRaises(zlib.error, self.inflate, stream, zlib.MAX_WBITS)

    def test_what_is_written(self):
        for case in read("compress")["written"]:
            with self.subTest(case["name"]):
                streams = [bytes.fromhex(stream) for stream in case["streams"]]
                if case["format"] == "zlib":
                    texts = [self.inflate(stream, zlib.MAX_WBITS) for stream in streams]
                else:
                    texts = list(self.messages(streams, case))
                self.assertEqual(texts, case["texts"])

    def messages(self, payloads, case):
        bits = -case.get("window_bits", zlib.MAX_WBITS)
        inflater = zlib.decompressobj(bits)
        for payload in payloads:
            if not case.get("keeps_window"):
                inflater = zlib.decompressobj(bits)
            yield inflater.decompress(payload + TAIL if payload else b"").decode()


class MessagePack(unittest.TestCase):
    def test_what_json_becomes(self):
        for case in read("msgpack")["encode"]:
            with self.subTest(case["name"]):
                value = MsgPackHandler().unpack(bytes.fromhex(case["msgpack"]))
                self.assertEqual(value, from_json(case["json"], range(-(2**63), 2**64)))

    def test_what_is_read(self):
        for case in read("msgpack")["decode"]:
            if case.get("fault") in ("TooDeep", "TooLarge", "Extension"):
                continue  # Limits of the server, not of the format.
            with self.subTest(case["name"]):
                packed = bytes.fromhex(case["msgpack"])
                if "json" in case:
                    self.assertEqual(plain(MsgPackHandler().unpack(packed)), json.loads(case["json"]))
                else:
                    self.assertFalse(self.is_map(packed))

    def is_map(self, packed):
        try:
            value = MsgPackHandler().unpack(packed)
        except (ValueError, TypeError):
            return False
        return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def plain(value):
    """What JSON makes of a value: bytes as base64, and null for what is no number."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Encryption(unittest.TestCase):
    def manager(self, exchange):
        manager = SecurityManager()
        manager._private_key = ec.derive_private_key(int(exchange["scalar"], 16), ec.SECP256R1())
        manager.derive_shared_secret(base64.b64decode(exchange["peer"]))
        return manager

    def test_keys_and_messages(self):
        for exchange in read("encryption")["exchanges"]:
            with self.subTest(exchange["name"]):
                manager = self.manager(exchange)
                self.assertEqual(manager._aes_key.hex(), exchange["key"])
                for frame in exchange["frames"]:
                    self.assertEqual(manager.decrypt(bytes.fromhex(frame["frame"])[2:]), frame["text"])

    def test_what_is_refused(self):
        vectors = read("encryption")
        manager = self.manager(vectors["exchanges"][0])
        for case in vectors["refused_frames"]:
            if case["why"] != "form":
                with self.subTest(case["name"]), self.assertRaises(Exception):
                    manager.decrypt(bytes.fromhex(case["frame"])[2:])


class Signing(unittest.TestCase):
    def setUp(self):
        self.vectors = read("signing")
        self.secret = bytes.fromhex(self.vectors["secret"])

    def mac(self, envelope):
        unsigned = {**envelope, "sig": {name: item for name, item in envelope["sig"].items() if name != "mac"}}
        return base64url(hmac.digest(self.secret, rfc8785.dumps(unsigned), "sha256"))

    def test_canonical_form(self):
        for case in self.vectors["canonical"]:
            with self.subTest(case["name"]):
                self.assertEqual(rfc8785.dumps(from_json(case["json"], range(1 - 2**53, 2**53))).decode(), case["canonical"])

    def test_signatures(self):
        for case in self.vectors["signatures"]:
            with self.subTest(case["name"]):
                signed = json.loads(case["signed"])
                self.assertEqual(self.mac(signed), signed["sig"]["mac"])
        for case in self.vectors["accepted"] + self.vectors["refused"]:
            if case.get("why") in (None, "stale", "forged"):
                with self.subTest(case["name"]):
                    envelope = json.loads(case["text"])
                    is_signed = self.mac(envelope) == envelope["sig"]["mac"]
                    self.assertEqual(is_signed, case.get("why") != "forged")

    def test_tickets(self):
        key = bytes.fromhex(self.vectors["ticket_key"])
        secret = bytes.fromhex(self.vectors["ticket_secret"])
        # HKDF-SHA256 with an empty salt, for one block (RFC 5869).
        extracted = hmac.digest(bytes(hashlib.sha256().digest_size), secret, "sha256")
        self.assertEqual(hmac.digest(extracted, TICKET_INFO + b"\x01", "sha256"), key)
        for case in self.vectors["tickets"]:
            with self.subTest(case["name"]):
                content, code = case["ticket"].split(".")
                self.assertEqual(content, base64url(case["content"].encode()))
                self.assertEqual(code, base64url(hmac.digest(key, content.encode(), "sha256")))


if __name__ == "__main__":
    unittest.main()
