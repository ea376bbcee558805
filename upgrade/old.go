package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"l4proxy/proxy"
)

// Old is what an upgrade does to the process that hands over.
type Old interface {
	// Pause stops accepting: clients wait in the kernel's queues. It returns all sockets on which
	// the process listens, and its live state. The sockets stay its own.
	Pause() ([]Socket, State, error)
	// Resume accepts again, after an upgrade that failed.
	Resume()
	// Move hands all connections to deliver, one batch after another, and returns how many stay. An
	// error of deliver ends it.
	Move(deliver Deliver) (left int, err error)
	// Final is the state after the last connection has moved.
	Final() State
}

// Deliver moves a batch of any size to the new process, and returns the indexes of those
// connections that have not moved. It closes no descriptors. After an error nothing of the batch
// has moved, and nothing else will.
type Deliver func([]proxy.Moved) (left []int, err error)

// Limits bound the steps of an upgrade. The zero value of each means the default.
type Limits struct {
	// Hello is from the start of the new process to its first message.
	Hello time.Duration
	// Check is from there until it has checked its configuration, with all host names resolved.
	Check time.Duration
	// Ready is from when accepting has paused until the new process accepts.
	Ready time.Duration
	// Ack is for one batch.
	Ack time.Duration
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Hello: cmp.Or(l.Hello, 10*time.Second),
		Check: cmp.Or(l.Check, 30*time.Second),
		Ready: cmp.Or(l.Ready, 5*time.Second),
		Ack:   cmp.Or(l.Ack, 10*time.Second),
	}
}

// Result describes an upgrade that has succeeded.
type Result struct {
	Binary  string `json:"binary"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Moved connections live on in the new process. The others stay with the old one until they
	// end.
	Moved    int     `json:"connections_moved"`
	Left     int     `json:"connections_left"`
	Duration Seconds `json:"duration_seconds"`
	// Pause is how long new clients waited in the kernel's queues.
	Pause Seconds `json:"accept_pause_seconds"`
	// LongestBatch is the longest time in which a batch of connections belonged to neither process.
	LongestBatch Seconds `json:"longest_batch_seconds"`

	child *child // for Supervise
}

// Seconds is a duration whose JSON is a number of seconds.
type Seconds time.Duration

// MarshalJSON writes it with the precision of a microsecond.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.6f", time.Duration(s).Seconds()), nil
}

// Options are what Run needs.
type Options struct {
	Program Program
	// Version is that of this program, for the log of the new process.
	Version string
	Limits  Limits
	// Needs is how many files the new process must be able to open to take over all connections; 0
	// is not checked.
	Needs int
	// Early is live state that the new process needs to check its configuration.
	Early State
	// Bulk is live state that is sent before accepting pauses.
	Bulk Bulk
	Log  *slog.Logger // nil means slog.Default
}

// old is an upgrade, on the side of the old process.
type old struct {
	Options
	*child
	ctx    context.Context // ends the waiting, until the new process is ready
	from   Old
	result Result
	seq    int
	ready  bool  // the new process accepts clients
	broken error // no connection can move
	gone   bool  // it has been killed
}

// Run upgrades this process to a new one. If it returns an error, the new process has ended, this
// one keeps serving, and nothing has changed. There is one exception, which the error names: if the
// new process died when it was already serving, its connections are lost.
func Run(ctx context.Context, o Options, from Old) (Result, error) {
	began := time.Now()
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Limits = o.Limits.withDefaults()
	c, err := o.Program.start()
	if err != nil {
		return Result{}, err
	}
	u := &old{Options: o, child: c, ctx: ctx, from: from, result: Result{Binary: o.Program.Binary, PID: c.pid()}}
	if err := u.run(); err != nil {
		u.end()
		u.close()
		return u.result, err
	}
	u.result.Duration = Seconds(time.Since(began))
	if os.Getpid() == 1 {
		u.result.child = c
	} else {
		u.close()
	}
	return u.result, nil
}

func (u *old) run() error {
	paused, err := u.prepare()
	if err != nil {
		return err
	}
	u.result.Pause = Seconds(time.Since(paused))
	if err := u.move(); err != nil {
		u.end() // before this process accepts again
		u.from.Resume()
		return err
	}
	return nil
}

// prepare returns when the new process accepts, and since when this one does not.
func (u *old) prepare() (paused time.Time, err error) {
	defer context.AfterFunc(u.ctx, u.interrupt)()
	if err = u.greet(); err == nil {
		err = u.awaitChecked()
	}
	if err == nil {
		paused = time.Now()
		if err = u.handSockets(); err != nil {
			u.end()
			u.from.Resume()
		}
	}
	if u.ctx.Err() != nil {
		err = context.Cause(u.ctx)
	}
	u.ready = err == nil
	return paused, err
}

// end makes sure that the new process is gone.
func (u *old) end() {
	if !u.gone {
		u.gone = true
		u.kill()
	}
}

// greet exchanges what both processes speak.
func (u *old) greet() error {
	u.step(u.Limits.Hello)
	mine := hello{formats: spoken(), Version: u.Version, PID: os.Getpid(), Early: u.Early, Bulk: u.Bulk.entries(), Next: testFormats}
	err := u.send(kindHello, mine, nil)
	var theirs hello
	if err == nil {
		err = u.expect(kindHello, &theirs)
	}
	if err != nil {
		return u.failed("before it said hello: is it l4proxy?", u.Limits.Hello, err)
	}
	u.result.Version = theirs.Version
	if _, err = mine.common(theirs.formats); err != nil {
		return err
	}
	if err := u.sendBulk(); err != nil {
		return u.failed("while it took over live state", bulkPatience, err)
	}
	return nil
}

// awaitChecked waits until the new process has done everything that is slow or may fail.
func (u *old) awaitChecked() error {
	u.step(u.Limits.Check)
	var c checked
	if err := u.expect(kindChecked, &c); err != nil {
		return u.failed("while it checked its configuration", u.Limits.Check, err)
	}
	if c.FileLimit > 0 && c.FileLimit < uint64(u.Needs) {
		return fmt.Errorf("the new process may open %d files, but needs %d for the connections of the old one: raise its limit (LimitNOFILE=, ulimit -n)",
			c.FileLimit, u.Needs)
	}
	return nil
}

// handSockets pauses accepting, and returns when the new process accepts.
func (u *old) handSockets() error {
	all, state, err := u.from.Pause() // has a limit of its own
	if err != nil {
		return err
	}
	u.step(u.Limits.Ready)
	for len(all) > 0 && err == nil {
		n := min(len(all), maxDescriptors)
		err = u.sendSockets(all[:n])
		all = all[n:]
	}
	if err == nil && testFormats != "" {
		err = u.send(optional|1, map[string]string{"from": "the next version"}, []byte("bytes"), int(os.Stderr.Fd()))
	}
	if err == nil {
		err = u.send(kindState, state, nil)
	}
	if err == nil {
		err = u.expect(kindReady, nil)
	}
	if err != nil {
		return u.failed("while it took over the listening sockets", u.Limits.Ready, err)
	}
	return nil
}

func (u *old) sendSockets(all []Socket) error {
	u.seq++
	message := sockets{Seq: u.seq}
	var fds []int
	for _, s := range all {
		message.Sockets = append(message.Sockets, socketEntry{Kind: s.Kind, Name: s.Name, Bind: s.Bind, KeepFile: s.KeepFile})
		fds = append(fds, s.FD)
	}
	if err := u.send(kindSockets, message, nil, fds...); err != nil {
		return err
	}
	a, err := u.acknowledged(u.seq)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return err
}

// step bounds what follows. Until the new process is ready, it fails at once when ctx is done.
func (u *old) step(limit time.Duration) {
	u.until(time.Now().Add(limit))
	if u.ctx.Err() != nil && !u.ready {
		u.interrupt()
	}
}

func (u *old) interrupt() { u.until(time.Unix(1, 0)) }

// expect waits for a message. A refusal is an error.
func (u *old) expect(want kind, into any) error {
	f, err := u.receive()
	if err != nil {
		return err
	}
	closeAll(f.fds) // none is expected
	if f.kind == kindRefused {
		var r refused
		if err := f.as(kindRefused, &r); err != nil {
			return err
		}
		return refusal(r.Reason)
	}
	return f.as(want, into)
}

// refusal is what the new process has refused with.
type refusal string

func (r refusal) Error() string { return "the new process refuses to take over: " + string(r) }

// failed says how and when the new process failed.
func (u *old) failed(when string, limit time.Duration, err error) error {
	var r refusal
	switch {
	case errors.As(err, &r):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the new process (pid %d) did not answer within %v, %s", u.pid(), limit, when)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), closedByPeer(err):
		if how := u.how(endPatience); how != "" {
			return fmt.Errorf("the new process (pid %d) ended %s (%s)", u.pid(), when, how)
		}
		return fmt.Errorf("the new process (pid %d) closed the hand-over socket %s", u.pid(), when)
	}
	return fmt.Errorf("the new process (pid %d) failed %s: %w", u.pid(), when, err)
}
