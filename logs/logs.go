// Package logs builds the *slog.Logger of the process. Logging never waits for the output, which
// may block or fail (a pipe without a reader, a full disk). Lines wait in a bounded queue. Lines
// that do not fit are dropped and counted, and the log reports their number once the output accepts
// lines again.
package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what is logged, how, and where.
type Options struct {
	// Level is the least level that is logged; nil is slog.LevelInfo. A *slog.LevelVar changes it
	// later, and so does a Levels.
	Level slog.Leveler
	// Format is "text", "json", or "auto", which is text on a terminal and JSON elsewhere. Empty is
	// "auto".
	Format string
	// Out receives the lines; nil is os.Stderr.
	Out io.Writer
	// QueueBytes bounds the lines that wait for Out; 0 is 4 MiB.
	QueueBytes int
}

const defaultQueueBytes = 4 << 20

// Logger owns the queue between the process's *slog.Logger and its output.
type Logger struct {
	slog   *slog.Logger
	always *slog.Logger
	queue  *queue
	writer *writer
}

// New starts a logger, whose Close ends it. It fails for an unknown format, and when no descriptor
// is left for Out.
func New(options Options) (*Logger, error) {
	out := options.Out
	if out == nil {
		out = os.Stderr
	}
	file, isFile := out.(*os.File)
	terminal := isFile && isTerminal(file)
	asText, err := textFormat(options.Format, terminal)
	if err != nil {
		return nil, err
	}
	if isFile {
		own, err := duplicate(file)
		if err != nil {
			return nil, fmt.Errorf("log output %s: %w", file.Name(), err)
		}
		out = ownFile{own}
	}

	format := newFormat(asText, terminal, options.Level)
	all := newFormat(asText, terminal, slog.LevelDebug)
	limit := options.QueueBytes
	if limit == 0 {
		limit = defaultQueueBytes
	}
	q := newQueue(limit, dropNotice(format))
	w := newWriter(q, out)
	go w.run()
	return &Logger{slog: slog.New(format(q)), always: slog.New(all(q)), queue: q, writer: w}, nil
}

// Slog returns the logger to log with. Its calls never wait for the output.
func (l *Logger) Slog() *slog.Logger { return l.slog }

// Always returns a logger whose lines are logged whatever the level. Its calls never wait either.
func (l *Logger) Always() *slog.Logger { return l.always }

// AwaitRoom waits until the queue has room for many more lines. Use it if waiting is better than
// losing lines. If the output accepts nothing for limit, AwaitRoom gives up, and returns at once
// until the output accepts lines again.
func (l *Logger) AwaitRoom(limit time.Duration) { l.queue.awaitRoom(limit) }

// Missed counts lines that their sender has dropped because the log was too slow, and logs their
// number.
func (l *Logger) Missed(lines uint64) { l.queue.miss(lines) }

// Dropped returns how many lines were dropped since New, those of Missed included.
func (l *Logger) Dropped() uint64 { return l.queue.droppedLines() }

// Close writes what is queued and ends the logger. It gives up when ctx is done or the output
// fails, and returns how many lines were not written. Lines logged later are dropped. If the output
// is a descriptor in blocking mode that accepts nothing, one goroutine is left in its write(2).
func (l *Logger) Close(ctx context.Context) (lost uint64) { return l.writer.close(ctx) }

// ownFile marks an output that the logger closes.
type ownFile struct{ *os.File }

// duplicate opens file's descriptor once more. A write to a broken pipe through the descriptors 1
// and 2 ends a Go program (os/signal, "SIGPIPE"); through a copy it is an error like any other.
// Close also needs a file of its own.
func duplicate(file *os.File) (*os.File, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var (
		copied  int
		copyErr error
	)
	err = conn.Control(func(fd uintptr) {
		copied, copyErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err != nil {
		return nil, err
	}
	if copyErr != nil {
		return nil, os.NewSyscallError("fcntl", copyErr)
	}
	return os.NewFile(uintptr(copied), file.Name()), nil
}

func isTerminal(file *os.File) bool {
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	var termErr error
	err = conn.Control(func(fd uintptr) {
		_, termErr = unix.IoctlGetTermios(int(fd), unix.TCGETS)
	})
	return err == nil && termErr == nil
}

// dropNotice returns the function that formats the line about lines dropped.
func dropNotice(format func(io.Writer) slog.Handler) func(lines uint64) []byte {
	var line sliceWriter
	handler := format(&line)
	return func(lines uint64) []byte {
		line = line[:0]
		record := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped: the log cannot keep up", 0)
		record.AddAttrs(slog.Uint64("count", lines))
		// A sliceWriter takes every line.
		_ = handler.Handle(context.Background(), record)
		return line
	}
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
