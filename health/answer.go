package health

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// An answer is judged by its status line. The rest is read only by a check that looks for a text in
// the body. Clients differ in what errors they accept in a header, and most accept more than
// [net/http.ReadResponse], which for example refuses a Transfer-Encoding other than chunked.
// Reading is bounded in bytes, and by the timeout of the check.

const (
	// maxHeader bounds the bytes before the body.
	maxHeader = 256 << 10
	// maxLine is how much of a line is looked at.
	maxLine = 4096
)

// errEarlyEnd is an answer that ends within its status line.
var errEarlyEnd = errors.New("closed by the server before the end of the status line")

// errLongHeader is an answer whose header exceeds maxHeader.
var errLongHeader = fmt.Errorf("the header is longer than %d KiB", maxHeader>>10)

// answerReader reads one answer after another from a connection.
type answerReader struct {
	limited io.LimitedReader
	in      *bufio.Reader
}

func newAnswerReader(r io.Reader) *answerReader {
	a := &answerReader{limited: io.LimitedReader{R: r, N: maxHeader}}
	a.in = bufio.NewReaderSize(&a.limited, maxLine)
	return a
}

// line returns the next line without its end, which may be LF or CRLF (RFC 9112 section 2.2), and
// at most maxLine of it. A last line without an end comes with the error. The result is valid until
// the next call.
func (a *answerReader) line() ([]byte, error) {
	line, err := a.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = a.in.ReadSlice('\n')
		}
	}
	if errors.Is(err, io.EOF) && a.limited.N <= 0 {
		err = errLongHeader
	}
	return bytes.TrimRight(line, "\r\n"), err
}

// status reads the status line, and any empty lines before it.
func (a *answerReader) status() (int, error) {
	var line []byte
	var err error
	for len(line) == 0 && err == nil {
		line, err = a.line()
	}
	status, ok := parseStatus(line)
	switch {
	case ok && (err == nil || isEnd(err)):
		return status, nil
	case err == nil:
		return 0, fmt.Errorf("malformed HTTP response %q", line)
	case isEnd(err):
		return 0, errEarlyEnd
	}
	return 0, err
}

// parseStatus finds the code in a status line: "HTTP/1.1 200 OK", with or without a reason.
func parseStatus(line []byte) (status int, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/"))
	rest = bytes.TrimLeft(rest, "0123456789.")
	code := bytes.TrimLeft(rest, " \t")
	if !ok || len(code) == len(rest) {
		return 0, false
	}
	if end := bytes.IndexAny(code, " \t"); end >= 0 {
		code = code[:end]
	}
	n, err := strconv.ParseUint(string(code), 10, 16)
	return int(n), err == nil && len(code) == 3
}

// isEnd reports whether err is the end of the stream. Over TLS, that is an unexpected EOF if the
// server sends no close_notify, as many servers do not.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// framing is what a header says about the end of its body.
type framing struct {
	codings string // all values of Transfer-Encoding
	length  string // all values of Content-Length
}

// header reads up to the end of the header. An answer that ends earlier counts as one without a
// body.
func (a *answerReader) header() (framing, error) {
	var f framing
	var last *string // the value that the previous line set
	for {
		line, err := a.line()
		switch {
		case isEnd(err), err == nil && len(line) == 0:
			return f, nil
		case err != nil:
			return f, err
		}
		if line[0] == ' ' || line[0] == '\t' { // continues the previous line (RFC 9112 section 5.2)
			if last != nil && len(*last) < maxLine {
				*last += string(line)
			}
			continue
		}
		last = nil
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue // not a field, but the answer is still usable
		}
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "transfer-encoding":
			last = &f.codings
		case "content-length":
			last = &f.length
		default:
			continue
		}
		if len(*last) < maxLine {
			*last += "," + string(value)
		}
	}
}

// body returns the body after a header, up to the end that f gives it (RFC 9112 section 6.3). If
// that is not clear, it ends with the connection.
func (a *answerReader) body(f framing) io.Reader {
	a.limited.N = 2 * maxReceived // more than is searched, to leave room for the sizes of chunks
	last, length := "", int64(-1)
	for coding := range strings.SplitSeq(f.codings, ",") {
		// identity means no coding (RFC 2616 section 3.6).
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
			last = coding
		}
	}
	switch {
	case last == "chunked":
		return &chunks{a: a}
	case last != "":
		return a.in
	}
	for value := range strings.SplitSeq(f.length, ",") {
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || length >= 0 && length != int64(n) {
			return a.in // not a number, or two different lengths: either may be wrong
		}
		length = int64(n)
	}
	if length < 0 {
		return a.in
	}
	return &exactly{a.in, length}
}

// exactly reads n bytes, and fails if there are fewer.
type exactly struct {
	r io.Reader
	n int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	if errors.Is(err, io.EOF) && e.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunks reads a body in chunks (RFC 9112 section 7.1). It ignores extensions, and what follows the
// last chunk.
type chunks struct {
	a     *answerReader
	chunk exactly
	later bool // a chunk's data has been read; its line end comes next
	end   bool
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.chunk.n == 0 {
		if c.end {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	return c.chunk.Read(p)
}

// next reads up to the data of the next chunk.
func (c *chunks) next() error {
	line, err := c.a.line()
	if c.later && err == nil && len(line) == 0 {
		line, err = c.a.line()
	}
	switch {
	case isEnd(err), errors.Is(err, errLongHeader):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	text, _, _ := bytes.Cut(line, []byte(";"))
	size, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 63)
	if err != nil {
		return fmt.Errorf("malformed chunk size: %s", quoted(line))
	}
	c.chunk, c.later, c.end = exactly{c.a.in, int64(size)}, true, size == 0
	return nil
}
