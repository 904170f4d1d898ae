/* CPython 3.14's limited API, as far as the extensions here need it in common, for 32 bits and with the GIL: no header of
 * the system is used to compile them. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    ptrdiff_t references;
    void *type;
} PyObject;
typedef struct {
    const char *name;
    PyObject *(*function)(PyObject *module, PyObject *const *arguments, ptrdiff_t count);
    int flags;
    const char *doc;
} PyMethodDef;
typedef struct {
    struct {
        PyObject head;
        void *init;
        ptrdiff_t index;
        PyObject *copy;
    } base;
    const char *name, *doc;
    ptrdiff_t size;
    PyMethodDef *methods;
    void *slots, *traverse, *clear, *free;
} PyModuleDef;

enum { METH_FASTCALL = 0x80, PYTHON_API_VERSION = 1013 };

PyObject *PyModule_Create2(PyModuleDef *, int);
