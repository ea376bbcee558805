package health

import (
	"io"
	"net"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
)

// longHeader is a header of 100 KiB.
var longHeader = strings.Repeat("Set-Cookie: "+strings.Repeat("a", 1000)+"\r\n", 100)

// TestStatusLineDecides serves answers that a strict reader would refuse: the check passes by the
// status line alone, whether or not the server then closes.
func TestStatusLineDecides(t *testing.T) {
	for name, answer := range map[string]string{
		"Transfer-Encoding: identity":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
		"Transfer-Encoding: gzip, chunked":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"an unknown coding":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: x-own\r\n\r\n",
		"two codings in two lines":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
		"Content-Length twice":               "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"Content-Length: 2, 2":               "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
		"two different lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"a negative length":                  "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
		"a length and a coding":              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
		"a line without a colon":             "HTTP/1.1 200 OK\r\nnot a field\r\n\r\n",
		"a space before the colon":           "HTTP/1.1 200 OK\r\nServer : x\r\n\r\n",
		"a field without a name":             "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
		"control characters in a field":      "HTTP/1.1 200 OK\r\nX\x00Y: \x01\x7f\xff\r\n\r\n",
		"a folded line":                      "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\n\r\n",
		"a folded first line":                "HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
		"a status line and the end":          "HTTP/1.1 200 OK\r\n",
		"a status line without its line end": "HTTP/1.1 200 OK",
		"half a header":                      "HTTP/1.1 200 OK\r\nContent-Type: te",
		"no reason":                          "HTTP/1.1 200\r\n\r\n",
		"no reason, and a space":             "HTTP/1.1 200 \r\n\r\n",
		"a reason in Latin-1":                "HTTP/1.1 200 D'accord \xe9\r\n\r\n",
		"spaces":                             "HTTP/1.1  200\tOK\r\n\r\n",
		"line ends of LF":                    "HTTP/1.1 200 OK\nServer: x\n\nok",
		"line ends of CR CR LF":              "HTTP/1.1 200 OK\r\r\nServer: x\r\r\n\r\r\n",
		"empty lines first":                  "\r\n\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.0":                           "HTTP/1.0 200 OK\r\n\r\n",
		"HTTP/0.9":                           "HTTP/0.9 200 OK\r\n\r\n",
		"HTTP/1":                             "HTTP/1 200 OK\r\n\r\n",
		"HTTP/2 in words":                    "HTTP/2 200\r\n\r\n",
		"HTTP/1.10":                          "HTTP/1.10 200 OK\r\n\r\n",
		"100 before it":                      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
		"103 with odd fields before it":      "HTTP/1.1 103 Early Hints\nLink: </a>\nodd\n x\n\nHTTP/1.1 200 OK\r\n",
		"100 and a long header before it":    "HTTP/1.1 100 Continue\r\n" + longHeader + "\r\nHTTP/1.1 200 OK\r\n",
		"a long header":                      "HTTP/1.1 200 OK\r\n" + longHeader + longHeader + longHeader + "\r\n",
		"a long line":                        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20),
		"a long reason":                      "HTTP/1.1 200 " + strings.Repeat("a", 3*maxLine) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, "closed", check(t, NewHTTP(HTTPOptions{}), serve(t, answers(answer))), "")
			if strings.Contains(answer, "\n") {
				open := func(c testnet.Conn) {
					_, _ = io.WriteString(c, answer)
					_, _ = io.Copy(io.Discard, c)
				}
				wantError(t, "left open", check(t, NewHTTP(HTTPOptions{}), serve(t, open)), "")
			}
		})
	}
}

func TestWhatIsNoStatusLine(t *testing.T) {
	for _, line := range []string{
		"<html>ok</html>", "200 OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 2000 OK", "HTTP/1.1 200OK", "HTTP/1.1 +20 OK", "HTTP/1.1 -20 OK",
		"HTTP/1.1200 OK", "HTTP/x 200 OK", "http/1.1 200 OK", "ICY 200 OK", " HTTP/1.1 200 OK", "HTTP/1.1 OK 200",
	} {
		err := check(t, NewHTTP(HTTPOptions{}), serve(t, answers(line+"\r\n\r\n")))
		wantError(t, line, err, `HTTP answer: malformed HTTP response "*`)
	}
}

// TestBodyOfOddAnswers serves bodies after headers that a strict reader refuses.
func TestBodyOfOddAnswers(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{
		{"identity", "Transfer-Encoding: identity\r\n\r\nready", ""},
		{"identity with a length", "Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nnot ready", `body: received "not " before the end, expected "ready"`},
		{"identity, chunked", "Transfer-Encoding: identity, chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", ""},
		{"Chunked in a folded line", "Transfer-Encoding:\r\n Chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", ""},
		{"chunked with a length", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", ""},
		{"chunked last", "Transfer-Encoding: x-own, chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", ""},
		{"chunked not last", "Transfer-Encoding: chunked, x-own\r\n\r\nready", ""},
		{"chunks with line ends of LF", "Transfer-Encoding: chunked\n\n3\nrea\n2\ndy\n0\n\n", ""},
		{"chunks without line ends", "Transfer-Encoding: chunked\r\n\r\n3\r\nrea2\r\ndy0\r\n\r\n", ""},
		{"chunks with extensions and spaces", "Transfer-Encoding: chunked\r\n\r\n0003 ;a=\"b\"\r\nrea\r\n2;\r\ndy\r\n0\r\n\r\n", ""},
		{"text after the last chunk", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nready", `body: received nothing before the end, expected "ready"`},
		{"text in an extension", "Transfer-Encoding: chunked\r\n\r\n1;ready\r\nx\r\n0\r\n\r\n", `body: received "x" before the end, expected "ready"`},
		{"text in the trailer", "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ready\r\n\r\n", `body: received nothing before the end, expected "ready"`},
		{"no chunks", "Transfer-Encoding: chunked\r\n\r\nready\r\n", `body: received nothing, expected "ready": malformed chunk size: "ready"`},
		{"a chunk that is too large", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nready\r\n", `body: received nothing, expected "ready": malformed chunk size: "ffffffffffffffff"`},
		{"half a chunk", "Transfer-Encoding: chunked\r\n\r\n5\r\nrea", `body: received "rea", expected "ready": unexpected EOF`},
		{"half a size", "Transfer-Encoding: chunked\r\n\r\n5", `body: received nothing, expected "ready": unexpected EOF`},
		{"the length twice", "Content-Length: 4\r\nContent-Length: 4\r\n\r\nnot ready", `body: received "not " before the end, expected "ready"`},
		{"the length twice in a line", "Content-Length: 9, 9\r\n\r\nnot ready", ""},
		{"two different lengths", "Content-Length: 2\r\nContent-Length: 9\r\n\r\nnot ready", ""},
		{"a length that is none", "Content-Length: many\r\n\r\nready", ""},
		{"a line without a colon", "odd\r\nContent-Length: 5\r\n\r\nready", ""},
		{"a space before the colon", "Content-Length : 3\r\n\r\nready", `body: received "rea" before the end, expected "ready"`},
		{"line ends of LF", "Content-Length: 5\n\nready", ""},
		{"a long header", longHeader + "Content-Length: 5\r\n\r\nready", ""},
		{"a long line", "X: " + strings.Repeat("a", 3*maxLine) + "\r\n\r\nready", ""},
		{"no header", "\r\nready", ""},
		{"no end of the header", "X: ready\r\n", `body: received nothing before the end, expected "ready"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := check(t, NewHTTP(HTTPOptions{Body: "ready"}), serve(t, answers("HTTP/1.1 200 OK\r\n"+test.answer)))
			wantError(t, "http", err, test.want)
		})
	}
}

// TestAnswerBeforeTheQuestion runs a server that answers each client as it connects, and closes
// without reading: its reset must not hide the answer.
func TestAnswerBeforeTheQuestion(t *testing.T) {
	for name, talk := range map[string]func(net.Conn) error{
		"http": func(c net.Conn) error { return NewHTTP(HTTPOptions{}).(httpChecker).talk(t.Context(), c, "a") },
		"expect": func(c net.Conn) error {
			return NewExpect([]Step{{Send: []byte("hello")}, {Receive: []byte("HTTP")}, {Send: []byte("bye")}}).(expect).talk(t.Context(), c)
		},
		"expect of something else": func(c net.Conn) error {
			err := NewExpect([]Step{{Send: []byte("hello")}, {Receive: []byte("hello")}}).(expect).talk(t.Context(), c)
			if err == nil || !strings.HasPrefix(err.Error(), `send "hello": `) {
				t.Errorf("error %v, want that of the failed send", err)
			}
			return nil
		},
	} {
		b := testnet.Listen(t, "tcp", "")
		conn := testnet.Dial(t, "tcp", b.Addr)
		server := b.Accept(t)
		_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\n\r\n")
		_, _ = io.WriteString(conn, "unread") // makes a reset of the close
		server.Close()
		testnet.Eventually(t, "nothing can be sent any more", func() bool {
			_, err := io.WriteString(conn, "x")
			return err != nil
		})
		wantError(t, name, talk(conn), "")
	}
}
