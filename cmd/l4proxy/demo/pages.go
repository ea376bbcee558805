package demo

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// Pause is how long a fault lasts that a path such as /stop has made, unless ?for= says
	// otherwise.
	Pause    = 15 * time.Second
	maxPause = time.Minute
	// maxBytes bounds ?bytes=, the size of an answer.
	maxBytes = 1 << 20
	// streamStep is the time between two lines of /stream, and streamTime how long it lasts unless
	// ?for= says otherwise.
	streamStep = 500 * time.Millisecond
	streamTime = 20 * time.Second
	// writeTimeout is how long a client may take to read what it has asked for.
	writeTimeout = 10 * time.Second
)

// HealthPath is for health checks. They do not count as served.
const HealthPath = "/healthz"

func (b *Backend) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", b.hello)
	mux.HandleFunc(HealthPath, b.healthz)
	mux.HandleFunc("/stream", b.stream)
	mux.HandleFunc("/ok", b.ok)
	for _, f := range []Fault{Stop, Hang, Slow} {
		mux.HandleFunc("/"+string(f), func(w http.ResponseWriter, r *http.Request) { b.breakDown(w, r, f) })
	}
	return mux
}

// hello answers with a line, and with as many bytes more as ?bytes= asks for.
func (b *Backend) hello(w http.ResponseWriter, r *http.Request) {
	more, err := strconv.Atoi("0" + r.URL.Query().Get("bytes"))
	if err != nil || more > maxBytes {
		http.Error(w, fmt.Sprintf("bytes=%s: write a number up to %d", r.URL.Query().Get("bytes"), maxBytes), http.StatusBadRequest)
		return
	}
	if !b.pass(r.Context()) {
		return
	}
	b.soon(w)
	fmt.Fprintf(w, "%s says hello; you came through %s; connections served: %d\n", b.name, r.RemoteAddr, b.served.Add(1))
	_, _ = io.CopyN(w, filler{}, int64(more))
}

// filler is an endless text.
type filler struct{}

func (filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '.'
	}
	return len(p), nil
}

func (b *Backend) healthz(w http.ResponseWriter, r *http.Request) {
	if b.pass(r.Context()) {
		fmt.Fprintln(w, "ok")
	}
}

// stream sends a line every now and then.
func (b *Backend) stream(w http.ResponseWriter, r *http.Request) {
	lasts, ok := period(w, r, streamTime)
	if !ok {
		return
	}
	b.served.Add(1)
	for end := time.Now().Add(lasts); time.Now().Before(end) && b.pass(r.Context()); sleep(r.Context(), streamStep) {
		b.soon(w)
		fmt.Fprintf(w, "%s is still here %s\n", b.name, strings.Repeat(".", 1000))
		if http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// soon makes the next writes fail if the client does not read.
func (b *Backend) soon(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// breakDown gives the backend a fault for a while.
func (b *Backend) breakDown(w http.ResponseWriter, r *http.Request, f Fault) {
	lasts, ok := period(w, r, Pause)
	if !ok {
		return
	}
	b.served.Add(1)
	cut := b.begin(f, lasts)
	b.reply(w, fmt.Sprintf("%s %s, for %v from now on\n", b.name, f.describe(), lasts))
	cut()
}

// ok repairs all backends: the broken ones get no requests through the proxy.
func (b *Backend) ok(w http.ResponseWriter, _ *http.Request) {
	b.served.Add(1)
	b.repair()
	b.reply(w, "all backends work again\n")
}

// reply sends a complete answer now: its connection may be cut next.
func (b *Backend) reply(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
}

// period is what ?for= says. If that cannot be read, the client gets an error.
func period(w http.ResponseWriter, r *http.Request, usual time.Duration) (d time.Duration, ok bool) {
	text := r.URL.Query().Get("for")
	if text == "" {
		return usual, true
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > maxPause {
		http.Error(w, fmt.Sprintf("for=%s: write a time up to %v, such as 5s", text, maxPause), http.StatusBadRequest)
		return 0, false
	}
	return d, true
}
