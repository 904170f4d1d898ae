/* What makes a fresh instance touch few of the snapshot's pages: each one that it writes to is a page fault, and a copy to
 * be put back after the request. Left alone, Python writes nearly everywhere it only reads, in two ways:
 *
 *   It counts references in the objects themselves. An immortal object (PEP 683) is not counted: `immortalise`.
 *   It allocates from the holes that the imports have left all over the heap. `gather` takes the holes out of use, so that
 *   what comes next lies side by side, at the heap's top.
 *
 * Both are for ever, so an instance that serves many requests keeps what the snapshot holds, and the holes. They are as
 * many bytes as `gather` returns.
 *
 * memory.wasm is made from this file as kdf.wasm is from kdf.c:
 *
 *   clang --target=wasm32-unknown-emscripten -O3 -fPIC -ffreestanding -fvisibility=hidden -c -o memory.o memory.c
 *   wasm-ld -shared --experimental-pic --no-entry --strip-all --export=PyInit__memory -o memory.wasm memory.o
 */
#include "../cpython.h"

ptrdiff_t PyList_Size(PyObject *);
PyObject *PyList_GetItem(PyObject *, ptrdiff_t);
PyObject *PyLong_FromSize_t(size_t);
void *malloc(size_t);
void free(void *);
void *memset(void *, int, size_t);

/* Include/refcount.h: what counts as immortal, and what an object gets that becomes so; the distance between the two is
 * for extensions that count nevertheless. */
#define IMMORTAL_MINIMUM ((ptrdiff_t)1 << 30)
#define IMMORTAL_INITIAL ((ptrdiff_t)5 << 28)

/* immortalise(objects): how many of them were not before. */
static PyObject *immortalise(PyObject *module, PyObject *const *arguments, ptrdiff_t count) {
    size_t changed = 0;
    ptrdiff_t size = count == 1 ? PyList_Size(arguments[0]) : -1;
    if (size < 0) return NULL;
    for (ptrdiff_t i = 0; i < size; i++) {
        PyObject *object = PyList_GetItem(arguments[0], i);
        if (object->references >= IMMORTAL_MINIMUM) continue;
        object->references = IMMORTAL_INITIAL;
        changed++;
    }
    return PyLong_FromSize_t(changed);
}

/* Room at the top of the heap for what a request allocates, so that the memory need not grow for it; the smallest chunk that
 * dlmalloc has; and how many holes there are at most, whatever goes wrong. */
enum { ROOM = 1 << 20, SMALLEST = 12, MOST_HOLES = 1 << 21 };

/* A block beyond which there is nothing but the top: the first one that the memory has grown for. */
static char *beyond_all(size_t *taken) {
    size_t pages = __builtin_wasm_memory_size(0);
    for (;;) {
        char *start = malloc(ROOM);
        if (!start || __builtin_wasm_memory_size(0) > pages) return start;
        memset(start, 0, ROOM);
        *taken += ROOM;
    }
}

/* gather(): bytes that were taken out of use; they are emptied, as a component holds no more of its memory than what is not
 * zero. Python for WASI has no allocator of its own: all is dlmalloc's, which prefers
 * any hole to the top of its heap. */
static PyObject *gather(PyObject *module, PyObject *const *arguments, ptrdiff_t count) {
    size_t taken = 0;
    int holes = 0;
    char *top = beyond_all(&taken);
    for (size_t size = ROOM / 2; top && size >= SMALLEST; size = size > 1024 ? size / 2 : size - 4) {
        for (; holes < MOST_HOLES; holes++) {
            char *start = malloc(size);
            if (!start) break;
            if (start > top) {
                free(start);
                break;
            }
            memset(start, 0, size);
            taken += size;
        }
    }
    free(top);
    return PyLong_FromSize_t(taken);
}

/* Filled in by code: pointers in data would take relocations, which run at each start of each instance. */
static PyMethodDef methods[3];
static PyModuleDef definition;

__attribute__((visibility("default"))) PyObject *PyInit__memory(void) {
    methods[0] = (PyMethodDef){"immortalise", immortalise, METH_FASTCALL, NULL};
    methods[1] = (PyMethodDef){"gather", gather, METH_FASTCALL, NULL};
    definition.base.head.references = 1;
    definition.name = "_memory";
    definition.size = -1;
    definition.methods = methods;
    return PyModule_Create2(&definition, PYTHON_API_VERSION);
}
