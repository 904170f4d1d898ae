// A small web app: what it answers is in `exports_app_call`, how it says so to the server around it.
//
// What the app is given, it frees; what it returns, the generated code frees. So whatever is
// returned comes from `malloc`, text as well.

#include <stdlib.h>
#include <string.h>

#include "gateway.h"

#define BLOCK (64 * 1024)
#define LONGEST_STREAM (1ULL << 40)
#define PATTERN "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
#define HTML "text/html; charset=utf-8"
#define TEXT "text/plain; charset=utf-8"
#define BINARY "application/octet-stream"

static const char INDEX[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<title>A web app in C</title>\n"
    "</head>\n"
    "<body>\n"
    "<h1>A web app in C</h1>\n"
    "<ul>\n"
    "<li><a href=\"hello/world\">GET /hello/NAME</a></li>\n"
    "<li><a href=\"environ\">GET /environ</a></li>\n"
    "<li><a href=\"stream/1000000\">GET /stream/N</a></li>\n"
    "<li><a href=\"fail\">GET /fail</a></li>\n"
    "</ul>\n"
    "<form method=\"post\" enctype=\"text/plain\">\n"
    "<input name=\"text\" value=\"hello\" aria-label=\"Text to send\">\n"
    "<button formaction=\"echo\">POST /echo</button>\n"
    "<button formaction=\"count\">POST /count</button>\n"
    "</form>\n"
    "</body>\n"
    "</html>\n";

typedef gateway_string_t string;
typedef gateway_list_u8_t bytes;
typedef gateway_tuple2_string_string_t pair;
typedef exports_app_request_body_t request_body;
typedef exports_app_response_t response;

// The iterable: the request body again, or `size` bytes of the repeated pattern.
struct exports_app_chunks_t {
    enum { ECHO, STREAM } kind;
    request_body input;
    uint64_t sent, size;
};

static void *allocate(size_t size) {
    void *memory = malloc(size);
    if (memory == NULL) abort();
    return memory;
}

static string literal(const char *text) { return (string){(uint8_t *)text, strlen(text)}; }

static bool equals(string text, const char *expected) {
    return text.len == strlen(expected) && memcmp(text.ptr, expected, text.len) == 0;
}

// What follows `prefix` in `text`.
static bool after(string text, const char *prefix, string *rest) {
    size_t length = strlen(prefix);
    if (text.len < length || memcmp(text.ptr, prefix, length) != 0) return false;
    *rest = (string){text.ptr + length, text.len - length};
    return true;
}

static string var(const exports_app_environ_t *environ, const char *name) {
    for (size_t i = 0; i < environ->vars.len; i++)
        if (equals(environ->vars.ptr[i].f0, name)) return environ->vars.ptr[i].f1;
    return (string){NULL, 0};
}

// Appends the bytes that a native string stands for: in UTF-8, U+0080 to U+00FF take two.
static void append(bytes *buffer, string native) {
    for (size_t i = 0; i < native.len; i++) {
        uint8_t byte = native.ptr[i];
        if (byte >= 0x80 && i + 1 < native.len) byte = byte << 6 | (native.ptr[++i] & 0x3f);
        buffer->ptr[buffer->len++] = byte;
    }
}

static void append_text(bytes *buffer, const char *text) {
    size_t length = strlen(text);
    memcpy(buffer->ptr + buffer->len, text, length);
    buffer->len += length;
}

// `snprintf` would do, and would bring in the whole of stdio, which needs WASI's file descriptors.
static void append_number(bytes *buffer, uint64_t number) {
    if (number >= 10) append_number(buffer, number / 10);
    buffer->ptr[buffer->len++] = '0' + number % 10;
}

static void add_header(response *response, const char *name, string value) {
    pair *header = &response->headers.ptr[response->headers.len++];
    gateway_string_dup(&header->f0, name);
    gateway_string_dup_n(&header->f1, (char *)value.ptr, value.len);
}

static void start(response *response, uint16_t status, string content_type) {
    // Room for one more header.
    pair *headers = allocate(2 * sizeof(pair));
    *response = (exports_app_response_t){.status = status, .headers = {headers, 0}};
    add_header(response, "Content-Type", content_type);
}

static void text(response *response, uint16_t status, const char *content_type, const char *body) {
    start(response, status, literal(content_type));
    bytes buffer = {allocate(strlen(body)), 0};
    append_text(&buffer, body);
    response->body.val.bytes = buffer;
}

static void stream(response *response, exports_app_chunks_t chunks) {
    exports_app_chunks_t *self = allocate(sizeof chunks);
    *self = chunks;
    response->body.tag = EXPORTS_APP_RESPONSE_BODY_CHUNKS;
    response->body.val.chunks = exports_app_chunks_new(self);
}

// The next block of the request body, as it arrives; an empty one is the end.
static bool read_block(request_body *body, bytes *block, string *error) {
    if (body->tag == EXPORTS_APP_REQUEST_BODY_READER)
        return io_method_input_read(io_borrow_input(body->val.reader), BLOCK, block, error);
    *block = body->val.bytes;
    body->val.bytes = (bytes){NULL, 0};
    return true;
}

static void drop_body(request_body *body) {
    if (body->tag == EXPORTS_APP_REQUEST_BODY_READER)
        io_input_drop_own(body->val.reader);
    else
        gateway_list_u8_free(&body->val.bytes);
    *body = (request_body){EXPORTS_APP_REQUEST_BODY_BYTES, {{NULL, 0}}};
}

bool exports_app_method_chunks_next(exports_app_chunks_t *self, gateway_option_list_u8_t *ret,
                                    string *err) {
    if (self->kind == ECHO) {
        if (!read_block(&self->input, &ret->val, err)) return false;
    } else {
        uint64_t left = self->size - self->sent;
        size_t length = left < BLOCK ? left : BLOCK;
        ret->val = (bytes){length > 0 ? allocate(length) : NULL, length};
        for (size_t i = 0; i < length; i++) ret->val.ptr[i] = PATTERN[i % strlen(PATTERN)];
        self->sent += length;
    }
    ret->is_some = ret->val.len > 0;
    return true;
}

void exports_app_method_chunks_close(exports_app_chunks_t *self) {
    drop_body(&self->input);
    if (self->kind == STREAM) {
        uint8_t line[80];
        bytes buffer = {line, 0};
        append_text(&buffer, "stream closed after ");
        append_number(&buffer, self->sent);
        append_text(&buffer, " of ");
        append_number(&buffer, self->size);
        append_text(&buffer, " bytes\n");
        io_errors(&(string){buffer.ptr, buffer.len});
    }
}

void exports_app_chunks_destructor(exports_app_chunks_t *self) { free(self); }

static void hello(response *response, string name) {
    start(response, 200, literal(TEXT));
    bytes buffer = {allocate(name.len + strlen("Hello, !\n")), 0};
    append_text(&buffer, "Hello, ");
    append(&buffer, name);
    append_text(&buffer, "!\n");
    response->body.val.bytes = buffer;
}

static int by_name(const void *left, const void *right) {
    const string *a = &((const pair *)left)->f0, *b = &((const pair *)right)->f0;
    int order = memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static void list_environ(response *response, exports_app_environ_t *environ) {
    pair *vars = environ->vars.ptr;
    size_t size = 0;
    for (size_t i = 0; i < environ->vars.len; i++)
        size += vars[i].f0.len + vars[i].f1.len + strlen(": \n");
    bytes buffer = {allocate(size), 0};
    qsort(vars, environ->vars.len, sizeof(pair), by_name);
    for (size_t i = 0; i < environ->vars.len; i++) {
        append(&buffer, vars[i].f0);
        append_text(&buffer, ": ");
        append(&buffer, vars[i].f1);
        append_text(&buffer, "\n");
    }
    start(response, 200, literal(TEXT));
    response->body.val.bytes = buffer;
}

static void echo(response *response, exports_app_environ_t *environ) {
    string content_type = var(environ, "CONTENT_TYPE");
    if (content_type.len == 0) content_type = literal(BINARY);
    start(response, 200, content_type);
    stream(response, (exports_app_chunks_t){.kind = ECHO, .input = environ->input});
    // It has another owner now, who drops it.
    environ->input = (request_body){EXPORTS_APP_REQUEST_BODY_BYTES, {{NULL, 0}}};
}

static bool count(response *response, request_body *body, string *error) {
    uint64_t size = 0;
    for (;;) {
        bytes block;
        if (!read_block(body, &block, error)) return false;
        if (block.len == 0) break;
        size += block.len;
        gateway_list_u8_free(&block);
    }
    start(response, 200, literal(TEXT));
    bytes buffer = {allocate(40), 0};
    append_number(&buffer, size);
    append_text(&buffer, " bytes\n");
    response->body.val.bytes = buffer;
    return true;
}

static void stream_pattern(response *response, uint64_t size) {
    uint8_t digits[20];
    bytes length = {digits, 0};
    append_number(&length, size);
    start(response, 200, literal(BINARY));
    add_header(response, "Content-Length", (string){length.ptr, length.len});
    stream(response, (exports_app_chunks_t){.kind = STREAM, .size = size});
}

static bool is_name(string text) {
    return text.len > 0 && memchr(text.ptr, '/', text.len) == NULL;
}

static bool is_size(string digits, uint64_t *size) {
    *size = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return false;
        *size = *size * 10 + (digits.ptr[i] - '0');
        if (*size > LONGEST_STREAM) return false;
    }
    return digits.len > 0;
}

static bool call(exports_app_environ_t *environ, response *response, string *error) {
    string path = var(environ, "PATH_INFO"), name, digits;
    uint64_t size;
    bool is_index = equals(path, "/");
    bool is_hello = after(path, "/hello/", &name) && is_name(name);
    bool is_environ = equals(path, "/environ");
    bool is_echo = equals(path, "/echo");
    bool is_count = equals(path, "/count");
    bool is_stream = after(path, "/stream/", &digits) && is_size(digits, &size);
    bool is_fail = equals(path, "/fail");

    bool is_post = is_echo || is_count;
    if (!(is_post || is_index || is_hello || is_environ || is_stream || is_fail)) {
        text(response, 404, TEXT, "Not Found\n");
        return true;
    }
    string method = var(environ, "REQUEST_METHOD");
    if (is_post ? !equals(method, "POST") : !equals(method, "GET") && !equals(method, "HEAD")) {
        text(response, 405, TEXT, "Method Not Allowed\n");
        add_header(response, "Allow", literal(is_post ? "POST" : "GET, HEAD"));
        return true;
    }

    if (is_fail) {
        gateway_string_dup(error, "deliberate failure");
        return false;
    }
    if (is_count) return count(response, &environ->input, error);
    if (is_index) text(response, 200, HTML, INDEX);
    if (is_hello) hello(response, name);
    if (is_environ) list_environ(response, environ);
    if (is_echo) echo(response, environ);
    if (is_stream) stream_pattern(response, size);
    return true;
}

bool exports_app_call(exports_app_environ_t *environ, response *ret, exports_app_failure_t *err) {
    err->tag = EXPORTS_APP_FAILURE_EXCEPTION;
    bool ok = call(environ, ret, &err->val.exception);
    drop_body(&environ->input);
    // Not `exports_app_environ_free`: made for a middleware, it leaves lists alone that could have been passed inward.
    gateway_list_tuple2_string_string_free(&environ->vars);
    return ok;
}
