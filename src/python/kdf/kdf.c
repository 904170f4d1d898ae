/* What CPython takes from OpenSSL and so lacks under WASI: the inner loops of PBKDF2-HMAC-SHA-256 (RFC 8018, 5.2) and
 * of scrypt (RFC 7914, 3 to 5). In Python alone, one log-in with Django's or Werkzeug's defaults takes minutes.
 * adapter/kdf.py does the rest, and checks all arguments before they come here.
 *
 * kdf.wasm is made from this file, with clang and lld 14 or later (the target only makes clang 14 emit code that can be
 * linked at run time, and no header of the system is used):
 *
 *   clang --target=wasm32-unknown-emscripten -O3 -fPIC -ffreestanding -fvisibility=hidden -c -o kdf.o kdf.c
 *   wasm-ld -shared --experimental-pic --no-entry --strip-all --export=PyInit__kdf -o kdf.wasm kdf.o
 */
#include "../cpython.h"

int PyBytes_AsStringAndSize(PyObject *, char **, ptrdiff_t *);
PyObject *PyBytes_FromStringAndSize(const char *, ptrdiff_t);
unsigned long PyLong_AsUnsignedLong(PyObject *);
PyObject *PyErr_NoMemory(void);
void *PyMem_RawMalloc(size_t);
void PyMem_RawFree(void *);

static inline uint32_t left(uint32_t x, int n) { return x << n | x >> (32 - n); }
static inline uint32_t right(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* SHA-256, FIPS 180-4, 6.2.2. */

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void compress(const uint32_t from[8], const uint32_t block[16], uint32_t to[8]) {
    uint32_t w[64], a = from[0], b = from[1], c = from[2], d = from[3];
    uint32_t e = from[4], f = from[5], g = from[6], h = from[7];
    for (int i = 0; i < 16; i++) w[i] = block[i];
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (right(x, 7) ^ right(x, 18) ^ x >> 3) + w[i - 7] + (right(y, 17) ^ right(y, 19) ^ y >> 10);
    }
/* One round; the next takes the same variables under other names, so that nothing has to be moved. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                               \
    h += (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + (g ^ (e & (f ^ g))) + K[i] + w[i], d += h,                       \
        h += (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) | (c & (a | b)))
    for (int i = 0; i < 64; i += 8) {
        ROUND(a, b, c, d, e, f, g, h, i), ROUND(h, a, b, c, d, e, f, g, i + 1);
        ROUND(g, h, a, b, c, d, e, f, i + 2), ROUND(f, g, h, a, b, c, d, e, i + 3);
        ROUND(e, f, g, h, a, b, c, d, i + 4), ROUND(d, e, f, g, h, a, b, c, i + 5);
        ROUND(c, d, e, f, g, h, a, b, i + 6), ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
    uint32_t s[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) to[i] = from[i] + s[i];
}

static void load_big_endian(uint32_t *words, const char *bytes, int count) {
    for (int i = 0; i < count; i++) {
        const unsigned char *b = (const unsigned char *)bytes + 4 * i;
        words[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
}

static int bytes_of(PyObject *object, char **bytes, ptrdiff_t *size) {
    return PyBytes_AsStringAndSize(object, bytes, size);
}

/* pbkdf2(key, first, rounds): the key padded to a block (64 bytes), U_1 (32 bytes), how many rounds after it: T, of 32
 * bytes. */
static PyObject *pbkdf2(PyObject *module, PyObject *const *arguments, ptrdiff_t count) {
    static const uint32_t start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    char *key, *first, result[32];
    ptrdiff_t size;
    if (count != 3 || bytes_of(arguments[0], &key, &size) || bytes_of(arguments[1], &first, &size)) return NULL;
    unsigned long rounds = PyLong_AsUnsignedLong(arguments[2]);
    uint32_t pad[16], inner[8], outer[8], block[16] = {0}, total[8];
    load_big_endian(pad, key, 16);
    for (int i = 0; i < 16; i++) pad[i] ^= 0x36363636;
    compress(start, pad, inner);
    for (int i = 0; i < 16; i++) pad[i] ^= 0x36363636 ^ 0x5c5c5c5c;
    compress(start, pad, outer);
    load_big_endian(block, first, 8);
    for (int i = 0; i < 8; i++) total[i] = block[i];
    block[8] = 0x80000000;
    block[15] = (64 + 32) * 8;
    while (rounds--) {
        compress(inner, block, block);
        compress(outer, block, block);
        for (int i = 0; i < 8; i++) total[i] ^= block[i];
    }
    for (int i = 0; i < 32; i++) result[i] = (char)(total[i / 4] >> (24 - 8 * (i % 4)));
    return PyBytes_FromStringAndSize(result, sizeof result);
}

/* scrypt. Words are little-endian there, as in WebAssembly's memory. */

static void salsa20_8(uint32_t block[16]) {
    uint32_t x[16];
    for (int i = 0; i < 16; i++) x[i] = block[i];
#define QUARTER(a, b, c, d)                                                                                            \
    x[b] ^= left(x[a] + x[d], 7), x[c] ^= left(x[b] + x[a], 9), x[d] ^= left(x[c] + x[b], 13),                         \
        x[a] ^= left(x[d] + x[c], 18)
    for (int i = 0; i < 4; i++) {
        QUARTER(0, 4, 8, 12), QUARTER(5, 9, 13, 1), QUARTER(10, 14, 2, 6), QUARTER(15, 3, 7, 11);
        QUARTER(0, 1, 2, 3), QUARTER(5, 6, 7, 4), QUARTER(10, 11, 8, 9), QUARTER(15, 12, 13, 14);
    }
    for (int i = 0; i < 16; i++) block[i] += x[i];
}

static void mix(const uint32_t *from, uint32_t *to, uint32_t r) {
    uint32_t x[16];
    for (int i = 0; i < 16; i++) x[i] = from[(2 * r - 1) * 16 + i];
    for (uint32_t j = 0; j < 2 * r; j++) {
        for (int i = 0; i < 16; i++) x[i] ^= from[j * 16 + i];
        salsa20_8(x);
        uint32_t *place = to + (j / 2 + (j & 1) * r) * 16;
        for (int i = 0; i < 16; i++) place[i] = x[i];
    }
}

/* romix(block, n): the block is 128 * r bytes, n a power of two: as many bytes. Needs 128 * r * (n + 2) bytes. */
static PyObject *romix(PyObject *module, PyObject *const *arguments, ptrdiff_t count) {
    char *bytes;
    ptrdiff_t size;
    if (count != 2 || bytes_of(arguments[0], &bytes, &size)) return NULL;
    uint32_t n = PyLong_AsUnsignedLong(arguments[1]), words = (uint32_t)size / 4, r = words / 32;
    uint32_t *memory = PyMem_RawMalloc((size_t)size * (n + 2));
    if (!memory) return PyErr_NoMemory();
    uint32_t *x = memory + (size_t)words * n, *y = x + words;
    for (uint32_t i = 0; i < words; i++) x[i] = ((const uint32_t *)(const void *)bytes)[i];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *kept = memory + (size_t)words * i;
        for (uint32_t k = 0; k < words; k++) kept[k] = x[k];
        mix(kept, x, r);
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t *kept = memory + (size_t)words * (x[words - 16] & (n - 1));
        for (uint32_t k = 0; k < words; k++) y[k] = x[k] ^ kept[k];
        mix(y, x, r);
    }
    PyObject *result = PyBytes_FromStringAndSize((const char *)x, size);
    PyMem_RawFree(memory);
    return result;
}

/* Filled in by code: pointers in data would take relocations, which run at each start of each instance. */
static PyMethodDef methods[3];
static PyModuleDef definition;

__attribute__((visibility("default"))) PyObject *PyInit__kdf(void) {
    methods[0] = (PyMethodDef){"pbkdf2", pbkdf2, METH_FASTCALL, NULL};
    methods[1] = (PyMethodDef){"romix", romix, METH_FASTCALL, NULL};
    definition.base.head.references = 1;
    definition.name = "_kdf";
    definition.size = -1;
    definition.methods = methods;
    return PyModule_Create2(&definition, PYTHON_API_VERSION);
}
