package admin

import (
	"cmp"
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	// headerTimeout is how long a client may take to send the header of a request, bodyTimeout for
	// the whole request.
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = time.Minute
	// maxLogged bounds the error of a command in the log: it may repeat a name of the request.
	maxLogged = 4 << 10
	// maxHeader bounds the header of a request, to which net/http adds 4 KiB.
	maxHeader = 16 << 10
	// MaxConnections is how many connections are open at once, and so the most descriptors that
	// clients of the admin address take.
	MaxConnections = 64
)

// Options are what a Server needs.
type Options struct {
	Address  Address
	View     View
	Commands Commands
	Queries  Queries
	// Events are for GET /api/v1/events; nil is answered with 501.
	Events EventSource
	// Metrics serves GET /metrics; nil is answered with 501.
	Metrics http.Handler
	// Log receives the commands and the requests that were refused; nil means slog.Default.
	Log *slog.Logger
}

// Server serves one admin address. Make one with [New].
type Server struct {
	view     View
	commands Commands
	queries  Queries
	events   EventSource
	scrape   http.Handler
	log      *slog.Logger
	guard    *guard
	refusals refusals
	conns    conns
	http     http.Server
	listener net.Listener
	served   chan struct{} // closed when Serve has returned
	patience time.Duration // answerTimeout, but for tests
	// base is the parent of the contexts of all commands.
	base    context.Context
	cancel  context.CancelFunc
	streams streams
	// document makes the OpenAPI document at the first request for it.
	document func() ([]byte, error)
}

// New returns a Server for l, which belongs to it. It serves when Serve is called, and has to be
// shut down.
func New(l net.Listener, o Options) *Server {
	s := &Server{
		listener: l,
		served:   make(chan struct{}),
		patience: answerTimeout,
		conns:    newConns(),
		view:     o.View,
		commands: o.Commands,
		queries:  o.Queries,
		events:   o.Events,
		scrape:   o.Metrics,
		log:      cmp.Or(o.Log, slog.Default()),
		guard:    newGuard(o.Address),
		streams:  newStreams(),
		document: sync.OnceValues(OpenAPI),
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.http = http.Server{
		Handler:           s.guarded(s.handler()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		// Commands take longer; call.reply sets a deadline for their answers.
		WriteTimeout:   commandTimeout + answerTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		// It would answer before the checks of guard.
		DisableGeneralOptionsHandler: true,
		ConnState:                    s.conns.changed,
		ConnContext:                  s.conns.context,
		// What clients do wrong is not worth a line each.
		ErrorLog: log.New(acceptErrors{s.log}, "", 0),
	}
	return s
}

// acceptErrors logs what keeps net/http from accepting, such as a lack of descriptors: it tries
// again. Its other messages are about single clients.
type acceptErrors struct{ log *slog.Logger }

func (l acceptErrors) Write(line []byte) (int, error) {
	if text, ok := strings.CutPrefix(string(line), "http: Accept error: "); ok {
		l.log.Warn("admin address: cannot accept, retrying", "error", strings.TrimSpace(text))
	}
	return len(line), nil
}

// Serve serves clients until Shutdown. If it returns an error, it serves no more.
func (s *Server) Serve() error {
	defer close(s.served)
	if err := s.http.Serve(s.listener); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops accepting, and waits until the requests that are being answered have ended. When
// ctx is done, it closes their connections. Serve must have been called. When Shutdown returns,
// nothing is left. It is called once.
//
// It is not that of net/http, which waits for clients that have sent nothing yet.
func (s *Server) Shutdown(ctx context.Context) {
	close(s.conns.closing)
	s.streams.end()
	_ = s.listener.Close()
	<-s.served
	s.http.SetKeepAlivesEnabled(false)
	s.conns.closeWaiting()
	select {
	case <-s.conns.ended():
	case <-ctx.Done():
	}
	s.cancel()
	_ = s.http.Close()
	<-s.conns.ended()
}

// guarded answers a panic with 500.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				s.log.Error("admin request panicked: this is a bug, please report it", "request", r.Method+" "+shorten(r.URL.Path),
					"panic", p, "stack", string(debug.Stack()))
				(&call{w: w, r: r, patience: s.patience}).fail(&Error{http.StatusInternalServerError, "internal error", "see the log of the proxy"})
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// answer serves a request that may be served.
func (s *Server) answer(c *call, route *route) {
	ctx, cancel := context.WithTimeout(s.base, commandTimeout)
	defer cancel()
	c.ctx, c.query = ctx, route.query
	if route.stream != nil {
		if err := route.stream(s, c); err != nil {
			c.fail(asError(err))
		}
		return
	}
	answer, err := route.serve(s, c)
	code := cmp.Or(c.code, http.StatusOK)
	var failed *Error
	if err != nil {
		failed = asError(err)
		code = failed.Status
	}
	if route.changes() { // before the answer: it may be the last thing that this process does
		s.logCommand(c.r, code, failed)
	}
	if failed != nil {
		c.fail(failed)
		return
	}
	c.reply(code, answer)
}

func (s *Server) logCommand(r *http.Request, code int, failed *Error) {
	args := []any{"request", r.Method + " " + shorten(r.URL.Path), "client", client(r), "status", code}
	if failed != nil {
		s.log.Warn("admin command failed", append(args, "error", bounded(failed.Message, maxLogged))...)
		return
	}
	s.log.Info("admin command", args...)
}

// client is the address of the client, for the log. A client of a unix socket has no address.
func client(r *http.Request) string {
	if r.RemoteAddr == "" || r.RemoteAddr == "@" {
		return "unix"
	}
	return r.RemoteAddr
}

// refusals limits the log lines about refused requests: any client can cause them.
type refusals struct {
	mu   sync.Mutex
	last time.Time
	more int // since then
}

const refusalEvery = time.Second

func (s *Server) refused(r *http.Request, e *Error) {
	now := time.Now()
	s.refusals.mu.Lock()
	if now.Sub(s.refusals.last) < refusalEvery {
		s.refusals.more++
		s.refusals.mu.Unlock()
		return
	}
	more := s.refusals.more
	s.refusals.last, s.refusals.more = now, 0
	s.refusals.mu.Unlock()
	s.log.Warn("admin request refused", "request", shorten(r.Method)+" "+shorten(r.URL.Path), "client", client(r), "status", e.Status,
		"reason", e.Message, "not_logged", more)
}
