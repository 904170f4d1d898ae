// The hello that all contestants say, in C.

#include <stdlib.h>

#include "gateway.h"

static void set(gateway_tuple2_string_string_t *header, const char *name, const char *value) {
    gateway_string_dup(&header->f0, name);
    gateway_string_dup(&header->f1, value);
}

bool exports_app_call(exports_app_environ_t *environ, exports_app_response_t *ret, exports_app_failure_t *err) {
    (void)err;
    gateway_list_tuple2_string_string_free(&environ->vars);
    exports_app_request_body_free(&environ->input);
    gateway_tuple2_string_string_t *headers = malloc(sizeof *headers);
    if (headers == NULL) abort();
    set(headers, "Content-Type", "text/plain; charset=utf-8");
    gateway_string_t body;
    gateway_string_dup(&body, "hello world\n");
    *ret = (exports_app_response_t){
        .status = 200,
        .headers = {headers, 1},
        .body = {EXPORTS_APP_RESPONSE_BODY_BYTES, {.bytes = {body.ptr, body.len}}},
    };
    return true;
}

// The body is one block: there is no iterable.
bool exports_app_method_chunks_next(exports_app_chunks_t *self, gateway_option_list_u8_t *ret, gateway_string_t *err) {
    (void)self, (void)err;
    ret->is_some = false;
    return true;
}

void exports_app_method_chunks_close(exports_app_chunks_t *self) { (void)self; }

void exports_app_chunks_destructor(exports_app_chunks_t *self) { (void)self; }
