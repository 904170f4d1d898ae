//go:build wasip1

// Package gateway is wsgi:gateway's world "app" for Go: what `wit-bindgen` writes for other
// languages, by hand and without a dependency. `call`, `next` and `close` are the functions that
// the host calls; their arguments and results are laid out as the Component Model's canonical ABI
// says, in 32-bit words.
//
// PEP 3333's native strings, one character for each byte, are Go strings of these bytes here.
package gateway

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// App answers a request. An error, or a panic, is for the operator's log; the client gets a 500.
var App func(*Request) (*Response, error)

// Request is PEP 3333's environ.
type Request struct {
	Vars  map[string]string
	Input io.ReadCloser
}

// Response is what PEP 3333's start_response is called with, and the body: Body, or Stream, which
// is read block by block and then closed.
type Response struct {
	Status int
	Header [][2]string
	Body   []byte
	Stream io.ReadCloser
}

// Errors is wsgi.errors: text for the operator's log.
var Errors io.Writer = errorLog{}

const blockSize = 64 * 1024

//go:wasmimport wsgi:gateway/io@0.1.0 errors
func hostErrors(text string)

//go:wasmimport wsgi:gateway/io@0.1.0 [method]input.read
func hostRead(handle, max uint32, result unsafe.Pointer)

//go:wasmimport wsgi:gateway/io@0.1.0 [resource-drop]input
func hostDrop(handle uint32)

//go:wasmimport [export]wsgi:gateway/application@0.1.0 [resource-new]chunks
func hostNewChunks(rep uint32) uint32

var (
	// What the host holds an address of, and the garbage collector must leave alone meanwhile.
	pinned []unsafe.Pointer
	// Results of more than one word are returned as the address of their words.
	result [9]uint32
	// The iterables that the host has not dropped yet, by the number that it knows them by.
	streams    = map[uint32]*stream{}
	lastStream uint32
)

// Not zero while the host puts arguments and results into memory, and takes them from there: it
// calls `realloc` and the functions named `Done` then, and traps if they call it in turn. The Go
// runtime would, to ask what time it is. wasi.wat looks here and tells it the last known time.
var barred = (*uint32)(at(32))

func init() { *barred = 1 }

type stream struct {
	io.ReadCloser
	block []byte
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	// Words of eight bytes, since a slice of bytes may begin anywhere.
	words := make([]uint64, (size+7)/8)
	memory := unsafe.Pointer(unsafe.SliceData(words))
	copy(unsafe.Slice((*byte)(memory), size), unsafe.Slice((*byte)(old), oldSize))
	pinned = append(pinned, memory)
	return memory
}

//go:wasmexport wsgi:gateway/application@0.1.0#call
func call(vars, count, inputTag, inputFirst, inputSecond uint32) unsafe.Pointer {
	*barred = 0
	defer func() { *barred = 1 }()
	request := &Request{Vars: make(map[string]string, count)}
	for _, words := range unsafe.Slice((*[4]uint32)(at(vars)), count) {
		request.Vars[fromNative(take(words[0], words[1]))] = fromNative(take(words[2], words[3]))
	}
	body := &input{end: io.EOF}
	if inputTag == 0 {
		body.rest = take(inputFirst, inputSecond)
	} else {
		body.handle, body.open = inputFirst, true
	}
	request.Input = body
	unpin(0)

	response, err := answer(request)
	if err != nil {
		text := toText(err.Error())
		result = [9]uint32{1, 0, pin(text), uint32(len(text))}
		body.drop()
		return unsafe.Pointer(&result)
	}
	headers := make([]uint32, 0, 4*len(response.Header))
	for _, header := range response.Header {
		name, value := toNative(header[0]), toNative(header[1])
		headers = append(headers,
			pin(name), uint32(len(name)), pin(value), uint32(len(value)))
	}
	result = [9]uint32{
		0, uint32(response.Status), 0, 0, pin(headers), uint32(len(response.Header)),
		0, pin(response.Body), uint32(len(response.Body)),
	}
	if response.Stream == nil {
		body.drop()
	} else {
		lastStream++
		streams[lastStream] = &stream{ReadCloser: response.Stream}
		result[6], result[7] = 1, hostNewChunks(lastStream)
	}
	return unsafe.Pointer(&result)
}

func answer(request *Request) (response *Response, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		}
	}()
	return App(request)
}

//go:wasmexport cabi_post_wsgi:gateway/application@0.1.0#call
func callDone(unsafe.Pointer) { unpin(0) }

//go:wasmexport wsgi:gateway/application@0.1.0#[method]chunks.next
func next(rep uint32) unsafe.Pointer {
	*barred = 0
	defer func() { *barred = 1 }()
	stream := streams[rep]
	if stream.block == nil {
		stream.block = make([]byte, blockSize)
	}
	n, err := stream.Read(stream.block)
	for n == 0 && err == nil {
		n, err = stream.Read(stream.block)
	}
	switch {
	case n > 0:
		// An error that came along comes again with the next read.
		result = [9]uint32{0, 1, pin(stream.block), uint32(n)}
	case err == io.EOF:
		result = [9]uint32{0, 0}
	default:
		text := toText(err.Error())
		result = [9]uint32{1, pin(text), uint32(len(text))}
	}
	return unsafe.Pointer(&result)
}

//go:wasmexport cabi_post_wsgi:gateway/application@0.1.0#[method]chunks.next
func nextDone(unsafe.Pointer) { unpin(0) }

//go:wasmexport wsgi:gateway/application@0.1.0#[method]chunks.close
func closeStream(rep uint32) {
	*barred = 0
	defer func() { *barred = 1 }()
	if err := streams[rep].Close(); err != nil {
		fmt.Fprintln(Errors, err)
	}
}

//go:wasmexport wsgi:gateway/application@0.1.0#[dtor]chunks
func dropStream(rep uint32) { delete(streams, rep) }

// The request body: what is left of its bytes, or the host's reader.
type input struct {
	rest   []byte
	handle uint32
	open   bool
	end    error
}

func (body *input) Read(block []byte) (int, error) {
	if !body.open || len(block) == 0 {
		n := copy(block, body.rest)
		body.rest = body.rest[n:]
		if n == 0 && len(block) > 0 {
			return 0, body.end
		}
		return n, nil
	}
	before := len(pinned)
	defer unpin(before)
	var words [3]uint32
	*barred = 1
	hostRead(body.handle, uint32(min(len(block), blockSize)), unsafe.Pointer(&words))
	*barred = 0
	read := take(words[1], words[2])
	if words[0] != 0 {
		body.end = errors.New(string(read))
		body.drop()
		return 0, body.end
	}
	if len(read) == 0 {
		body.drop()
		return 0, io.EOF
	}
	return copy(block, read), nil
}

// Close gives the host's reader back.
func (body *input) Close() error {
	body.drop()
	return nil
}

func (body *input) drop() {
	if body.open {
		body.open = false
		hostDrop(body.handle)
	}
}

type errorLog struct{}

func (errorLog) Write(text []byte) (int, error) {
	hostErrors(string(toText(string(text))))
	return len(text), nil
}

// pin returns the address of a slice's elements for the host, and keeps them alive until `unpin`.
func pin[E any](slice []E) uint32 {
	memory := unsafe.Pointer(unsafe.SliceData(slice))
	pinned = append(pinned, memory)
	return uint32(uintptr(memory))
}

func unpin(from int) {
	clear(pinned[from:])
	pinned = pinned[:from]
}

// take is what the host has put into memory of `realloc`; it outlives `unpin` as any slice does.
func take(address, size uint32) []byte {
	return unsafe.Slice((*byte)(at(address)), size)
}

func at(address uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(address)) }

// toText is for what people read: the host refuses what is not UTF-8.
func toText(text string) []byte { return []byte(strings.ToValidUTF8(text, "\uFFFD")) }

func fromNative(text []byte) string {
	native := make([]byte, 0, len(text))
	for len(text) > 0 {
		char, size := utf8.DecodeRune(text)
		native, text = append(native, byte(char)), text[size:]
	}
	return string(native)
}

func toNative(text string) []byte {
	native := make([]byte, 0, len(text))
	for i := range len(text) {
		native = utf8.AppendRune(native, rune(text[i]))
	}
	return native
}
