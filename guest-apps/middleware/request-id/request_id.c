// A name for every request, by which its traces in several logs are found: the app inside has it in
// HTTP_X_REQUEST_ID, the client in X-Request-ID. A name that a proxy has given stays, if it is one.

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway.h"

#define VARIABLE "HTTP_X_REQUEST_ID"
#define HEADER "X-Request-ID"
#define LONGEST 128

typedef gateway_string_t string;
typedef gateway_tuple2_string_string_t pair;
typedef gateway_list_tuple2_string_string_t pairs;

__attribute__((__import_module__("wasi:random/random@0.2.0"), __import_name__("get-random-u64")))
extern uint64_t random_u64(void);

// The inner iterable, passed on.
struct exports_app_chunks_t {
    app_own_chunks_t inner;
};

bool exports_app_method_chunks_next(exports_app_chunks_t *self, gateway_option_list_u8_t *ret,
                                    string *err) {
    return app_method_chunks_next(app_borrow_chunks(self->inner), ret, err);
}

void exports_app_method_chunks_close(exports_app_chunks_t *self) {
    app_method_chunks_close(app_borrow_chunks(self->inner));
    app_chunks_drop_own(self->inner);
}

void exports_app_chunks_destructor(exports_app_chunks_t *self) { free(self); }

static bool equals(string text, const char *expected) {
    return text.len == strlen(expected) && strncasecmp((char *)text.ptr, expected, text.len) == 0;
}

static bool is_valid(string id) {
    if (id.len == 0 || id.len > LONGEST) return false;
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.ptr[i];
        bool is_alphanumeric = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!is_alphanumeric && memchr("-_.:+/=", c, 7) == NULL) return false;
    }
    return true;
}

static string new_id(void) {
    string id = {malloc(32), 32};
    if (id.ptr == NULL) abort();
    for (size_t half = 0; half < 2; half++) {
        uint64_t bits = random_u64();
        for (size_t i = 0; i < 16; i++, bits >>= 4) id.ptr[16 * half + i] = "0123456789abcdef"[bits & 15];
    }
    return id;
}

static string copy(string text) {
    string copied;
    gateway_string_dup_n(&copied, (char *)text.ptr, text.len);
    return copied;
}

static void add(pairs *list, const char *name, string value) {
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof(pair));
    if (list->ptr == NULL) abort();
    pair *added = &list->ptr[list->len++];
    gateway_string_dup(&added->f0, name);
    added->f1 = value;
}

// Takes every pair with this name out of the list.
static void drop(pairs *list, const char *name) {
    size_t kept = 0;
    for (size_t i = 0; i < list->len; i++) {
        if (equals(list->ptr[i].f0, name))
            gateway_tuple2_string_string_free(&list->ptr[i]);
        else
            list->ptr[kept++] = list->ptr[i];
    }
    list->len = kept;
}

// The request's name, which is in the environ from now on.
static string name_request(pairs *vars) {
    for (size_t i = 0; i < vars->len; i++)
        if (equals(vars->ptr[i].f0, VARIABLE) && is_valid(vars->ptr[i].f1))
            return copy(vars->ptr[i].f1);
    string id = new_id();
    drop(vars, VARIABLE);
    add(vars, VARIABLE, copy(id));
    return id;
}

// There is no response to put it into; the log has the failure itself.
static void note_failure(string id) {
    static const char before[] = "no response to request ";
    size_t length = strlen(before);
    uint8_t line[sizeof before + LONGEST + 1];
    memcpy(line, before, length);
    memcpy(line + length, id.ptr, id.len);
    length += id.len;
    line[length++] = '\n';
    io_errors(&(string){line, length});
}

bool exports_app_call(exports_app_environ_t *environ, exports_app_response_t *ret,
                      exports_app_failure_t *err) {
    string id = name_request(&environ->vars);
    app_environ_t inward = {.vars = environ->vars};
    memcpy(&inward.input, &environ->input, sizeof inward.input);
    app_response_t response;
    app_failure_t failure;
    bool ok = app_call(&inward, &response, &failure);
    // A reader has gone inward with the call; what is left is memory. The function of the same name for
    // the exported type would leave it.
    app_environ_free(&inward);
    if (!ok) {
        note_failure(id);
        gateway_string_free(&id);
        memcpy(err, &failure, sizeof *err);
        return false;
    }
    drop(&response.headers, HEADER);
    add(&response.headers, HEADER, id);
    *ret = (exports_app_response_t){response.status, response.reason, response.headers, {0}};
    if (response.body.tag == APP_RESPONSE_BODY_CHUNKS) {
        exports_app_chunks_t *chunks = malloc(sizeof *chunks);
        if (chunks == NULL) abort();
        chunks->inner = response.body.val.chunks;
        ret->body.tag = EXPORTS_APP_RESPONSE_BODY_CHUNKS;
        ret->body.val.chunks = exports_app_chunks_new(chunks);
    } else {
        ret->body.tag = EXPORTS_APP_RESPONSE_BODY_BYTES;
        ret->body.val.bytes = response.body.val.bytes;
    }
    return true;
}
