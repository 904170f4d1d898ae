/* What the runtime of componentize-py 0.25 never frees: the copy that it makes of each `list<u8>` that Python returns
 * (`maybe_pop_list`: it asks the object for its length, allocates that much, copies, lets go of the object). Streams
 * ended at the memory limit for it, and an instance that is kept grew with each response.
 *
 * A block is lent as an object of a type of its own, so that the two calls on either side of the allocation come here:
 *
 *   length   allocates as much and frees it again: the allocator, in the same state, gives the same place once more,
 *            or goes in turn through free places of the same size.
 *   dealloc  is next, and nothing else has run since. The place that was free and is in use now is the runtime's.
 *
 * By the next call of the instance the host has taken the block, and `reclaim` frees it: only if the place is still in
 * use, of the same size and with the same content, as it is not if the runtime should free it by itself (another
 * version; the build takes 0.25 alone). Where anything is in doubt, the block is left where it is, as it was before.
 *
 * blocks.wasm is made from this file as kdf.wasm is from kdf.c:
 *
 *   clang --target=wasm32-unknown-emscripten -O3 -fPIC -ffreestanding -fvisibility=hidden -c -o blocks.o blocks.c
 *   wasm-ld -shared --experimental-pic --no-entry --strip-all --export=PyInit__blocks -o blocks.wasm blocks.o
 */
#include "../cpython.h"

typedef struct {
    int slot;
    void *function;
} PyType_Slot;
typedef struct {
    const char *name;
    int basic_size, item_size;
    unsigned flags;
    PyType_Slot *slots;
} PyType_Spec;

enum { Py_mp_length = 4, Py_sq_length = 45, Py_tp_dealloc = 52 };

PyObject *PyType_FromSpecWithBases(PyType_Spec *, PyObject *);
PyObject *PyObject_Type(PyObject *);
PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
void PyObject_Free(void *);
int PyBytes_AsStringAndSize(PyObject *, char **, ptrdiff_t *);
PyObject *PyBytes_FromStringAndSize(const char *, ptrdiff_t);
PyObject *PyBool_FromLong(long);
void PyErr_Clear(void);
void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);
void *malloc(size_t);
int posix_memalign(void **, size_t, size_t);
void free(void *);

static PyObject *block_type;

/* Free places where the runtime's copy of `block` may come to be. */
enum { PLACES = 4 };
static struct {
    PyObject *block;
    int count;
    struct {
        char *start;
        uint32_t room;
    } places[PLACES];
} expected;
/* The place that it has, and what makes it known again. */
static struct {
    char *start;
    uint32_t room;
    size_t size;
    uint64_t sum;
} lent;

/* dlmalloc, which wasi-libc has: the word before an allocation is its room with flags below, one of them "in use". As
 * `length` sees the flag go on and off, another allocator would be found out. */
enum { IN_USE = 2, FLAGS = 7 };

static uint32_t header(const char *start) { return ((const volatile uint32_t *)(const volatile void *)start)[-1]; }

static int in_use(const char *start, uint32_t room) {
    uint32_t head = header(start);
    return (head & IN_USE) && (head & ~(uint32_t)FLAGS) == room;
}

/* FNV-1a, eight bytes at a time. */
static uint64_t sum_of(const char *bytes, size_t size) {
    uint64_t sum = 0xcbf29ce484222325;
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        __builtin_memcpy(&word, bytes, 8);
        sum = (sum ^ word) * 0x100000001b3;
        sum ^= sum >> 32;
    }
    for (; size; bytes++, size--) sum = (sum ^ (unsigned char)*bytes) * 0x100000001b3;
    return sum;
}

/* As Rust allocates: nothing at all goes another way, with a pointer's alignment. */
static char *allocate(size_t size) {
    void *start = NULL;
    if (size) return malloc(size);
    return posix_memalign(&start, sizeof start, 0) ? NULL : start;
}

static int is_known(const char *start, int count) {
    while (count--)
        if (expected.places[count].start == start) return 1;
    return 0;
}

static ptrdiff_t length(PyObject *block) {
    char *bytes;
    ptrdiff_t size;
    if (PyBytes_AsStringAndSize(block, &bytes, &size)) return -1;
    expected.block = block;
    expected.count = 0;
    /* One call returns one block; a second would be left where it is. */
    if (lent.start) return size;
    int count = 0;
    for (; count < PLACES; count++) {
        char *start = allocate((size_t)size);
        if (!start) return size;
        uint32_t head = header(start), room = head & ~(uint32_t)FLAGS;
        free(start);
        if (!(head & IN_USE) || room < (size_t)size + sizeof head) return size;
        if (is_known(start, count)) break;
        expected.places[count].start = start;
        expected.places[count].room = room;
    }
    /* A freed place becomes one with free neighbours: what does not look free by itself is left out. */
    for (int i = 0; i < count; i++)
        if (!(header(expected.places[i].start) & IN_USE)) expected.places[expected.count++] = expected.places[i];
    return size;
}

static void dealloc(PyObject *block) {
    char *bytes;
    ptrdiff_t size;
    int found = 0, which = 0, count = expected.block == block ? expected.count : 0;
    for (int i = 0; i < count; i++)
        if (in_use(expected.places[i].start, expected.places[i].room)) found++, which = i;
    if (found == 1 && !PyBytes_AsStringAndSize(block, &bytes, &size)) {
        lent.sum = sum_of(bytes, (size_t)size);
        lent.size = (size_t)size;
        lent.room = expected.places[which].room;
        lent.start = expected.places[which].start;
        if (sum_of(lent.start, lent.size) != lent.sum) lent.start = NULL;
    }
    expected.count = 0;
    PyObject_Free(block);
    Py_DecRef(block_type);
}

/* lend(block): the bytes as an object to return to the host; as they are where there is no memory for another copy. */
static PyObject *lend(PyObject *module, PyObject *const *arguments, ptrdiff_t count) {
    char *bytes;
    ptrdiff_t size;
    if (count != 1 || PyBytes_AsStringAndSize(arguments[0], &bytes, &size)) return NULL;
    PyObject *block = PyObject_CallFunctionObjArgs(block_type, arguments[0], NULL);
    if (block) {
        /* The runtime, which traps where there is no room for its own copy, comes next. */
        void *room = malloc((size_t)size);
        free(room);
        if (room) return block;
        Py_DecRef(block);
    } else {
        PyErr_Clear();
    }
    Py_IncRef(arguments[0]);
    return arguments[0];
}

/* reclaim(): frees what the last call of this instance has returned; whether there was anything to free. */
static PyObject *reclaim(PyObject *module, PyObject *const *arguments, ptrdiff_t count) {
    char *start = lent.start;
    lent.start = NULL;
    expected.count = 0;
    int is_ours = start && in_use(start, lent.room) && sum_of(start, lent.size) == lent.sum;
    if (is_ours) free(start);
    return PyBool_FromLong(is_ours);
}

/* Filled in by code: pointers in data would take relocations, which run at each start of each instance. */
static PyMethodDef methods[3];
static PyModuleDef definition;

static int make_block_type(void) {
    PyType_Slot slots[] = {{Py_sq_length, length}, {Py_mp_length, length}, {Py_tp_dealloc, dealloc}, {0, NULL}};
    PyType_Spec spec = {"_blocks.Block", 0, 0, 0, slots};
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    if (!empty) return 0;
    PyObject *bytes_type = PyObject_Type(empty);
    block_type = PyType_FromSpecWithBases(&spec, bytes_type);
    Py_DecRef(bytes_type);
    Py_DecRef(empty);
    return block_type != NULL;
}

__attribute__((visibility("default"))) PyObject *PyInit__blocks(void) {
    if (!make_block_type()) return NULL;
    methods[0] = (PyMethodDef){"lend", lend, METH_FASTCALL, NULL};
    methods[1] = (PyMethodDef){"reclaim", reclaim, METH_FASTCALL, NULL};
    definition.base.head.references = 1;
    definition.name = "_blocks";
    definition.size = -1;
    definition.methods = methods;
    return PyModule_Create2(&definition, PYTHON_API_VERSION);
}
