"""`hashlib.scrypt` and `hashlib.pbkdf2_hmac`, which CPython has only where it has OpenSSL: not in the sandbox.

The inner loops of SHA-256 are in `_kdf`, a compiled module (see kdf.c); everything else is here.
"""

import hashlib
import hmac

_SCRYPT_MEMORY = 32 << 20  # OpenSSL's own limit where none is given


def provide(loops):
    """Adds what is missing. `loops` is the module `_kdf`, or something with the same two functions."""
    if not hasattr(hashlib, "pbkdf2_hmac"):
        hashlib.pbkdf2_hmac = _pbkdf2_hmac_with(loops)
    if not hasattr(hashlib, "scrypt"):
        hashlib.scrypt = _scrypt_with(loops)


def _pbkdf2_hmac_with(loops):
    def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None):
        """Password based key derivation function 2 (PKCS #5 v2.0) with HMAC as pseudorandom function."""
        if not isinstance(hash_name, str):
            raise TypeError(f"expected 'str' for name, but got {type(hash_name)}")
        password, salt = bytes(memoryview(password)), bytes(memoryview(salt))
        if iterations < 1:
            raise ValueError("iteration value must be greater than 0.")
        if iterations > 0x7FFFFFFF:
            raise OverflowError("iteration value is too great.")
        digest_size = hashlib.new(hash_name).digest_size
        if dklen is None:
            dklen = digest_size
        if dklen < 1:
            raise ValueError("key length must be greater than 0.")
        blocks = range(1, -(-dklen // digest_size) + 1)
        is_sha256 = hashlib.new(hash_name).name == "sha256"
        block = _sha256_block if is_sha256 else _any_block
        return b"".join(block(loops, hash_name, password, salt + n.to_bytes(4, "big"), iterations) for n in blocks)[:dklen]

    return pbkdf2_hmac


def _sha256_block(loops, hash_name, password, salt, iterations):
    key = hashlib.sha256(password).digest() if len(password) > 64 else password
    first = hmac.digest(key, salt, "sha256")
    return loops.pbkdf2(key.ljust(64, b"\0"), first, iterations - 1)


def _any_block(loops, hash_name, password, salt, iterations):
    keyed = hmac.new(password, None, hash_name)
    mac = keyed.copy()
    mac.update(salt)
    last = mac.digest()
    total = int.from_bytes(last, "big")
    for _ in range(iterations - 1):
        mac = keyed.copy()
        mac.update(last)
        last = mac.digest()
        total ^= int.from_bytes(last, "big")
    return total.to_bytes(len(last), "big")


def _scrypt_with(loops):
    def scrypt(password, *, salt, n, r, p, maxmem=0, dklen=64):
        """scrypt password-based key derivation function."""
        password, salt = bytes(memoryview(password)), bytes(memoryview(salt))
        if n < 2 or n & (n - 1):
            raise ValueError("n must be a power of 2.")
        if r < 1 or p < 1 or r * p >= 1 << 30:
            raise ValueError("Invalid parameter combination for n, r, p, maxmem.")
        if dklen < 1:
            raise ValueError("dklen must be greater than 0 and smaller than 2147483647")
        if 128 * r * (n + p + 2) > (maxmem or _SCRYPT_MEMORY):
            raise ValueError("Invalid parameter combination for n, r, p, maxmem.")
        size = 128 * r
        mixed = hashlib.pbkdf2_hmac("sha256", password, salt, 1, p * size)
        mixed = b"".join(loops.romix(mixed[i : i + size], n) for i in range(0, p * size, size))
        return hashlib.pbkdf2_hmac("sha256", password, mixed, 1, dklen)

    return scrypt
