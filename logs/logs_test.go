package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary the child of TestReaderOfStderrGone.
const childEnv = "LOGS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(logToStderr())
	}
	goleak.VerifyTestMain(m)
}

// soon bounds what should take no time at all.
const soon = 10 * time.Second

func newLogger(t *testing.T, options Options) *Logger {
	t.Helper()
	l, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLogger(t *testing.T, l *Logger) (lost uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	return l.Close(ctx)
}

// gate is an output that takes nothing until it is opened.
type gate struct {
	open    chan struct{}
	written chan struct{} // one token for each Write that ended

	mu    sync.Mutex
	lines bytes.Buffer
}

func newGate() *gate {
	return &gate{open: make(chan struct{}), written: make(chan struct{}, 1000)}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	defer func() { g.written <- struct{}{} }()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lines.Write(p)
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lines.String()
}

// awaitText waits until the output holds text, which it looks for after each write.
func awaitText(t *testing.T, written <-chan struct{}, output func() string, text string) {
	t.Helper()
	deadline := time.After(soon)
	for !strings.Contains(output(), text) {
		select {
		case <-written:
		case <-deadline:
			t.Fatalf("%q did not come", text)
		}
	}
}

func TestFormats(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 80_900_000, time.FixedZone("", 3600))
	for _, test := range []struct{ format, want string }{
		{"text", `time=2026-03-04T04:06:07.080Z level=INFO msg="connection closed" listener=web bytes_in=12 g.time=x` + "\n"},
		{"json", `{"time":"2026-03-04T04:06:07.08Z","level":"INFO","msg":"connection closed","listener":"web","bytes_in":12,"g":{"time":"x"}}` + "\n"},
		// A buffer is not a terminal.
		{"auto", `{"time":"2026-03-04T04:06:07.08Z","level":"INFO","msg":"connection closed","listener":"web","bytes_in":12,"g":{"time":"x"}}` + "\n"},
	} {
		var out bytes.Buffer
		l := newLogger(t, Options{Format: test.format, Out: &out})
		record := slog.NewRecord(at, slog.LevelInfo, "connection closed", 0)
		record.Add("bytes_in", 12, slog.Group("g", "time", "x"))
		if err := l.Slog().With("listener", "web").Handler().Handle(context.Background(), record); err != nil {
			t.Error(err)
		}
		closeLogger(t, l)
		if out.String() != test.want {
			t.Errorf("format %s:\n got %s want %s", test.format, out.String(), test.want)
		}
	}
}

func TestTerminal(t *testing.T) {
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	defer main.Close()
	if err := unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	defer terminal.Close()

	l := newLogger(t, Options{Out: terminal})
	l.Slog().Info("ready", "listeners", 2)
	closeLogger(t, l)
	line, err := bufio.NewReader(main).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^time=\d\d:\d\d:\d\d\.\d{3} level=INFO msg=ready listeners=2\r\n$`)
	if !want.MatchString(line) {
		t.Errorf("on a terminal: %q, want %s", line, want)
	}
}

func TestUnknownFormat(t *testing.T) {
	_, err := New(Options{Format: "xml", Out: io.Discard})
	if want := `unknown log format "xml": write auto, text or json`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestLevelCanChange(t *testing.T) {
	var (
		out   bytes.Buffer
		level slog.LevelVar
	)
	l := newLogger(t, Options{Format: "text", Level: &level, Out: &out})
	l.Slog().Debug("one")
	level.Set(slog.LevelDebug)
	l.Slog().Debug("two")
	closeLogger(t, l)
	if got := out.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("logged %q, want only two", got)
	}
}

func TestOrderIsKept(t *testing.T) {
	const callers, each = 8, 2000
	var out bytes.Buffer
	l := newLogger(t, Options{Format: "json", Out: &out})
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for i := range each {
				l.Slog().Info("line", "caller", caller, "i", i)
			}
		})
	}
	group.Wait()
	if lost := closeLogger(t, l); lost != 0 {
		t.Errorf("lost %d lines", lost)
	}
	var next [callers]int
	for line := range strings.Lines(out.String()) {
		var got struct{ Caller, I int }
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got.I != next[got.Caller] {
			t.Fatalf("caller %d: line %d, want %d", got.Caller, got.I, next[got.Caller])
		}
		next[got.Caller]++
	}
	for caller, n := range next {
		if n != each {
			t.Errorf("caller %d: %d lines, want %d", caller, n, each)
		}
	}
}

// TestDropsAreCountedAndReported fills the queue of a blocked output, opens it, and expects every
// line either written or counted, and the notice in the gap.
func TestDropsAreCountedAndReported(t *testing.T) {
	const logged = 1000
	out := newGate()
	l := newLogger(t, Options{Format: "json", Out: out, QueueBytes: 4096})
	for i := range logged {
		l.Slog().Info("before", "i", i)
	}
	dropped := l.Dropped()
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	close(out.open)
	awaitText(t, out.written, out.text, "log lines dropped")
	l.Slog().Info("after")
	if lost := closeLogger(t, l); lost != 0 {
		t.Errorf("Close lost %d lines", lost)
	}
	if got := l.Dropped(); got != dropped {
		t.Errorf("Dropped = %d after the output opened, was %d", got, dropped)
	}

	lines := strings.Split(strings.TrimSpace(out.text()), "\n")
	written := len(lines) - 2
	if uint64(written)+dropped != logged {
		t.Errorf("%d lines written and %d dropped of %d", written, dropped, logged)
	}
	for i, line := range lines[:written] {
		if want := fmt.Sprintf(`"msg":"before","i":%d}`, i); !strings.HasSuffix(line, want) {
			t.Fatalf("line %d is %s", i, line)
		}
	}
	notice := fmt.Sprintf(`"level":"WARN","msg":"log lines dropped: the log cannot keep up","count":%d}`, dropped)
	if !strings.HasSuffix(lines[written], notice) {
		t.Errorf("after the lines came %s, want %s", lines[written], notice)
	}
	if !strings.HasSuffix(lines[written+1], `"msg":"after"}`) {
		t.Errorf("the last line is %s", lines[written+1])
	}
}

// TestMissedLines: lines that were lost before they reached the logger are counted, and the notice
// is where they are missing.
func TestMissedLines(t *testing.T) {
	var out bytes.Buffer
	l := newLogger(t, Options{Format: "json", Out: &out})
	l.Slog().Info("before")
	l.Missed(7)
	l.Slog().Info("after")
	closeLogger(t, l)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[1], `"count":7}`) || !strings.HasSuffix(lines[2], `"msg":"after"}`) {
		t.Errorf("logged %q, want a notice of 7 lines between two others", lines)
	}
	if got := l.Dropped(); got != 7 {
		t.Errorf("Dropped = %d, want 7", got)
	}

	// While the output is blocked, the notice adds both kinds up.
	gate := newGate()
	l = newLogger(t, Options{Format: "json", Out: gate, QueueBytes: 4096})
	for range 1000 {
		l.Slog().Info("line")
	}
	l.Missed(7)
	dropped := l.Dropped()
	close(gate.open)
	awaitText(t, gate.written, gate.text, fmt.Sprintf(`"count":%d}`, dropped))
	closeLogger(t, l)
	if n := strings.Count(gate.text(), "log lines dropped"); n != 1 {
		t.Errorf("%d notices, want one", n)
	}
}

// TestBlockedPipe logs far more than the queue holds to a full pipe without a reader.
func TestBlockedPipe(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		t.Run(fmt.Sprintf("blocking=%t", blocking), func(t *testing.T) {
			// The reader's end is also what frees a writer in blocking mode.
			r, w := fullPipe(t, blocking)
			defer r.Close()
			defer w.Close()

			const logged = 5000
			l := newLogger(t, Options{Out: w, QueueBytes: 64 << 10})
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				for i := range logged {
					l.Slog().Info("connection closed", "i", i)
				}
			}()
			select {
			case <-finished:
			case <-time.After(soon):
				t.Fatal("a caller is blocked")
			}
			dropped := l.Dropped()

			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			lost := l.Close(ctx)
			if dropped == 0 || lost == 0 || dropped+lost != logged {
				t.Errorf("%d lines dropped, %d lost at Close, of %d logged", dropped, lost, logged)
			}
			if got := l.Dropped(); got != logged {
				t.Errorf("Dropped = %d, want all %d", got, logged)
			}
			if again := l.Close(context.Background()); again != lost {
				t.Errorf("the second Close returned %d, want %d", again, lost)
			}
		})
	}
}

// fullPipe returns a pipe that takes no more bytes, with its writing end in blocking mode or not.
func fullPipe(t *testing.T, blocking bool) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, os.Getpagesize())
	for {
		_, err := unix.Write(fds[1], page)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.SetNonblock(fds[1], !blocking); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
}

func TestLinesAfterCloseAreDropped(t *testing.T) {
	var out bytes.Buffer
	l := newLogger(t, Options{Out: &out})
	closeLogger(t, l)
	l.Slog().Info("late")
	if l.Dropped() != 1 || out.Len() != 0 {
		t.Errorf("dropped %d lines and wrote %q", l.Dropped(), out.String())
	}
}

// TestReaderOfStderrGone: a Go program is killed by its own write to a broken pipe on descriptor 2,
// unless the write goes through another one.
func TestReaderOfStderrGone(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = w
	if err := cmd.Run(); err != nil {
		t.Errorf("the logging process: %v", err)
	}
}

// logToStderr is the child: it logs to the broken pipe and returns 0 when the one line was lost,
// and nothing else happened.
func logToStderr() int {
	l, err := New(Options{})
	if err != nil {
		return 1
	}
	l.Slog().Info("this line has no reader")
	if lost := l.Close(context.Background()); lost != 1 {
		return 1
	}
	return 0
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("needs /dev/full: %v", err)
	}
	defer full.Close()
	l := newLogger(t, Options{Out: full})
	for range 3 {
		l.Slog().Info("no room")
	}
	if lost := closeLogger(t, l); lost != 3 {
		t.Errorf("lost %d lines, want 3", lost)
	}
}

// failing is an output without room for all of its first writes.
type failing struct {
	failures int           // writes still to fail
	written  chan struct{} // one token for each Write that ended

	mu    sync.Mutex
	calls int
	lines bytes.Buffer
}

func (f *failing) Write(p []byte) (int, error) {
	defer func() { f.written <- struct{}{} }()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.calls <= f.failures {
		// Half of it fits.
		n, _ := f.lines.Write(p[:len(p)/2])
		return n, unix.ENOSPC
	}
	return f.lines.Write(p)
}

func (f *failing) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lines.String()
}

// TestFailedWritesAreTriedAgain: a disk that is full for a moment costs no line and few tries.
func TestFailedWritesAreTriedAgain(t *testing.T) {
	out := &failing{failures: 2, written: make(chan struct{}, 1000)}
	l := newLogger(t, Options{Format: "text", Out: out})
	l.Slog().Info("first")
	awaitText(t, out.written, out.text, "\n")
	if lost := closeLogger(t, l); lost != 0 {
		t.Errorf("lost %d lines", lost)
	}
	if got := out.text(); strings.Count(got, "first") != 1 || strings.Count(got, "\n") != 1 {
		t.Errorf("written: %q", got)
	}
	if out.calls != 3 {
		t.Errorf("%d writes, want 3", out.calls)
	}
}

func TestFirstLines(t *testing.T) {
	line := strings.Repeat("x", writeSize/4) + "\n"
	long := strings.Repeat("x", 2*writeSize) + "\n"
	for _, test := range []struct {
		name, batch string
		want        int
	}{
		{"short", line, len(line)},
		{"whole lines", strings.Repeat(line, 5), 3 * len(line)},
		{"one long line", long, writeSize},
	} {
		if got := firstLines([]byte(test.batch)); len(got) != test.want {
			t.Errorf("%s: %d bytes, want %d", test.name, len(got), test.want)
		}
	}
}

func TestClosedOutputIsAnError(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := New(Options{Out: f}); err == nil {
		t.Error("New took a closed file")
	}
}

// BenchmarkConnectionLine is the line of a finished connection, from the call to the file. At
// 20,000 lines a second, 1 µs each is 2 % of a CPU. The loop is faster than that by far, so batches
// are large and their buffers not kept: the allocations of a proxy's log are fewer.
func BenchmarkConnectionLine(b *testing.B) {
	for _, format := range []string{"json", "text"} {
		b.Run(format, func(b *testing.B) {
			out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer out.Close()
			l, err := New(Options{Format: format, Out: out})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				l.Slog().LogAttrs(ctx, slog.LevelInfo, "connection",
					slog.String("listener", "postgres"),
					slog.String("client", "192.0.2.1:50000"),
					slog.String("backend", "10.0.0.5:5432"),
					slog.String("pool", "pg"),
					slog.Uint64("bytes_in", 12345),
					slog.Uint64("bytes_out", 6789012),
					slog.Duration("duration", 1234*time.Millisecond),
					slog.Duration("connect_time", 345*time.Microsecond),
					slog.Int("attempts", 1),
					slog.String("reason", "eof"),
					slog.String("side", "client"),
					slog.String("rule", ""),
					slog.Duration("tcp_rtt", 45*time.Microsecond),
					slog.Int("retransmits", 0),
				)
			}
			l.Close(ctx)
		})
	}
}

// TestAwaitRoom logs four times more than the queue holds to a slow output, and loses nothing. If
// the output takes nothing, it waits only once.
func TestAwaitRoom(t *testing.T) {
	const queue, logged = 16 << 10, 1000
	r, w := io.Pipe() // each write waits for its reader
	var read bytes.Buffer
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.CopyBuffer(struct{ io.Writer }{&read}, struct{ io.Reader }{r}, make([]byte, 512))
	}()
	l := newLogger(t, Options{Format: "json", Out: w, QueueBytes: queue})
	for i := range logged {
		l.AwaitRoom(soon)
		l.Slog().Info("line", "i", i)
	}
	if lost := closeLogger(t, l); lost != 0 || l.Dropped() != 0 {
		t.Errorf("%d lines were lost at the end, %d in all", lost, l.Dropped())
	}
	w.Close()
	<-over
	if n := bytes.Count(read.Bytes(), newline); n != logged {
		t.Errorf("%d of %d lines were written", n, logged)
	}

	out := newGate()
	l = newLogger(t, Options{Format: "json", Out: out, QueueBytes: queue})
	began := time.Now()
	for i := range logged {
		l.AwaitRoom(50 * time.Millisecond)
		l.Slog().Info("line", "i", i)
	}
	if took := time.Since(began); took < 50*time.Millisecond || took > soon {
		t.Errorf("%d lines took %v where the output takes nothing", logged, took)
	}
	close(out.open)
	closeLogger(t, l)
}
