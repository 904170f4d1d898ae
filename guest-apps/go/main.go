// A small web app.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	_ "embed"

	"guest/gateway"
)

const (
	longestStream = 1 << 40
	pattern       = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	html          = "text/html; charset=utf-8"
	text          = "text/plain; charset=utf-8"
	binary        = "application/octet-stream"
)

//go:embed index.html
var index []byte

func init() { gateway.App = app }

func main() {}

func app(request *gateway.Request) (*gateway.Response, error) {
	path, found := strings.CutPrefix(request.Vars["PATH_INFO"], "/")
	name, argument, hasArgument := strings.Cut(path, "/")
	size, err := strconv.ParseUint(argument, 10, 64)
	allow := ""
	switch {
	case !found:
	case !hasArgument && (name == "echo" || name == "count"):
		allow = "POST"
	case !hasArgument && (name == "" || name == "environ" || name == "fail"),
		name == "hello" && argument != "" && !strings.Contains(argument, "/"),
		name == "stream" && err == nil && size <= longestStream:
		allow = "GET, HEAD"
	}
	if allow == "" {
		return respond(404, text, []byte("Not Found\n")), nil
	}
	if !slices.Contains(strings.Split(allow, ", "), request.Vars["REQUEST_METHOD"]) {
		response := respond(405, text, []byte("Method Not Allowed\n"))
		response.Header = append(response.Header, [2]string{"Allow", allow})
		return response, nil
	}

	switch name {
	case "hello":
		return respond(200, text, []byte("Hello, "+argument+"!\n")), nil
	case "environ":
		return respond(200, text, list(request.Vars)), nil
	case "echo":
		response := respond(200, request.Vars["CONTENT_TYPE"], nil)
		if response.Header[0][1] == "" {
			response.Header[0][1] = binary
		}
		response.Stream = request.Input
		return response, nil
	case "count":
		size, err := io.Copy(io.Discard, request.Input)
		if err != nil {
			return nil, err
		}
		return respond(200, text, fmt.Appendf(nil, "%d bytes\n", size)), nil
	case "stream":
		response := respond(200, binary, nil)
		response.Header = append(response.Header,
			[2]string{"Content-Length", strconv.FormatUint(size, 10)})
		response.Stream = &patternStream{size: size}
		return response, nil
	case "fail":
		return nil, errors.New("deliberate failure")
	default:
		return respond(200, html, index), nil
	}
}

func respond(status int, contentType string, body []byte) *gateway.Response {
	header := [][2]string{{"Content-Type", contentType}}
	return &gateway.Response{Status: status, Header: header, Body: body}
}

func list(vars map[string]string) (lines []byte) {
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		lines = fmt.Appendf(lines, "%s: %s\n", key, vars[key])
	}
	return lines
}

// patternStream reads as `size` bytes of the repeated pattern.
type patternStream struct {
	sent, size uint64
}

func (stream *patternStream) Read(block []byte) (int, error) {
	if stream.sent == stream.size {
		return 0, io.EOF
	}
	n := int(min(uint64(len(block)), stream.size-stream.sent))
	for i := range n {
		block[i] = pattern[(stream.sent+uint64(i))%uint64(len(pattern))]
	}
	stream.sent += uint64(n)
	return n, nil
}

func (stream *patternStream) Close() error {
	_, err := fmt.Fprintf(gateway.Errors, "stream closed after %d of %d bytes\n",
		stream.sent, stream.size)
	return err
}
