package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/bans"
	"l4proxy/eventloop"
	"l4proxy/listen"
)

// Options are what a Server needs besides its State.
type Options struct {
	// Engine is eventloop.IOUring, eventloop.Epoll, or eventloop.Auto; "" means Auto.
	Engine string
	// Workers is the number of event loops; 0 means one per CPU that the process may use.
	Workers int
	// MaxConnections bounds the connections of all listeners; 0 means no bound.
	MaxConnections int
	// Bans are the banned prefixes of clients; nil means that there never are any.
	Bans *bans.Store
	// KeepAlive: the zero value means DefaultKeepAlive.
	KeepAlive KeepAlive
	// Prepared, if set, is called when the event loops exist, before the first listening socket is
	// opened or taken. With an error, Listen fails.
	Prepared func() error
	// Inherited, if set, returns the listening sockets of an address that another process has
	// opened, if any. They then belong to the Server. bind is as in Listener.Binds.
	Inherited func(listener string, bind listen.Bind) (fds []int)
	// KeepFile, if set, reports whether the file of an inherited unix socket belongs to another
	// program, which will still listen there after this process. Then the Server never removes it.
	KeepFile func(listener string, bind listen.Bind) bool
	// Log receives messages about the server as a whole; nil means slog.Default.
	Log *slog.Logger
	// Finished is called for every connection that has ended, on one goroutine, in bursts. The
	// Record is valid only during the call. If Finished is slow, records are lost and counted, but
	// no connection is held up. nil: no records are made.
	Finished func(*Record)
	// Step is called for the steps of connections that are traced (see [Server.Trace]), on the
	// goroutine of Finished and in the same way. nil: there are no traces.
	Step func(*Step)
	// Lost, if set, is called on the goroutine of Finished with the number of records or steps that
	// were lost since its last call.
	Lost func(records uint64)

	clock       func() int64 // of the loops; nil means eventloop.Clock
	recordsKept uint64       // by each loop; 0 means recordsKept
}

// Server is the data plane as a whole. Make one with [Listen] and run it with Run. The other
// methods may be called from any goroutine.
type Server struct {
	ledger        atomic.Pointer[ledger] // with the State
	log           *slog.Logger
	keepAlive     KeepAlive
	bans          *bans.Store
	clock         func() int64
	kept          uint64 // records on each loop
	engine        string // of all workers
	nonce         uint32 // differs between processes; see uniqueID
	workers       []*worker
	slots         slots
	inherited     func(string, listen.Bind) []int
	keepFile      func(string, listen.Bind) bool
	finished      func(*Record)
	step          func(*Step)
	lost          func(uint64)
	tracer        tracer
	recording     atomic.Bool
	deniedRecords deniedRecords

	listening atomic.Int64 // listening sockets that are open
	retrying  atomic.Int64 // connections in stateRetrying
	slotless  atomic.Int64 // connections that hold no slot because they are turned away
	limits    limitLogs
	wake      chan struct{} // wakes the recorder when there are records
	asleep    atomic.Bool   // the recorder waits for wake
	pausing   atomic.Bool   // the recorder lets records gather
	stop      chan struct{} // closed by Stop
	stopOnce  sync.Once

	mu       sync.Mutex // held while the State or the phase changes
	bound    []*bound
	leaving  []*bound   // removed before Run
	running  bool       // the workers have their listening sockets
	unlinked bool       // no State can follow
	handing  sync.Mutex // held by HandOver
	phase    handOverPhase
	inspect  inspector
	kills    kills
	turns    atomic.Uint64 // of clients that wait in queues; see search.turn
	orphans  orphans
	carried  atomic.Pointer[Totals] // counts of the old process; nil if there was none
}

// Listen opens all listening sockets of the state and makes the event loops. If anything fails, it
// leaves nothing open.
func Listen(state *State, o Options) (*Server, error) {
	s := &Server{
		log:       o.Log,
		keepAlive: o.KeepAlive,
		bans:      o.Bans,
		inherited: o.Inherited,
		keepFile:  o.KeepFile,
		finished:  o.Finished,
		step:      o.Step,
		lost:      o.Lost,
		clock:     o.clock,
		kept:      cmp.Or(o.recordsKept, recordsKept),
		wake:      make(chan struct{}, 1),
		stop:      make(chan struct{}),
		inspect:   newInspector(),
	}
	s.nonce = rand.Uint32()
	s.slots.divide(int64(o.MaxConnections), state.Listeners, nil)
	s.recording.Store(o.Finished != nil)
	s.tracer.last.Store(uint64(time.Now().UnixMicro())) // so that processes use other numbers
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.keepAlive == (KeepAlive{}) {
		s.keepAlive = DefaultKeepAlive
	}
	workers := o.Workers
	if workers <= 0 {
		workers = AvailableCPUs()
	}
	if err := s.makeLoops(o.Engine, workers); err != nil {
		return nil, err
	}
	if o.Prepared != nil {
		if err := o.Prepared(); err != nil {
			return nil, errors.Join(err, s.closeAll())
		}
	}
	s.ledger.Store(newLedger(state, workers, nil))
	c := change{server: s}
	if err := c.prepare(state, s.inherited); err != nil {
		return nil, errors.Join(err, s.closeAll())
	}
	s.bound = c.bound
	return s, nil
}

// makeLoops makes n event loops on the same engine, because listening sockets are made for one
// engine. With eventloop.Auto, that is io_uring if it works for all of them, else epoll. A limit of
// locked memory or address space, or a security profile, may keep io_uring from working.
func (s *Server) makeLoops(engine string, n int) error {
	if engine != eventloop.Auto && engine != "" {
		return s.makeLoopsOn(engine, n)
	}
	why := s.makeLoopsOn(eventloop.IOUring, n)
	if why == nil {
		return nil
	}
	if err := s.makeLoopsOn(eventloop.Epoll, n); err != nil {
		return errors.Join(why, err)
	}
	s.log.Warn("io_uring unavailable, falling back to epoll", "reason", why.Error())
	return nil
}

// makeLoopsOn makes n event loops. If it fails, it leaves no loop open.
func (s *Server) makeLoopsOn(engine string, n int) error {
	for i := range n {
		w := &worker{server: s, number: i, serial: rand.Uint32(), records: ring[Record]{kept: s.kept}, steps: ring[Step]{kept: s.kept}}
		loop, err := eventloop.New(engine, s.clock, w)
		if err != nil {
			for _, w := range s.workers {
				w.loop.Discard()
			}
			s.workers = nil
			if i > 0 { // this loop has reached a limit
				err = fmt.Errorf("event loop %d of %d: %w", i+1, n, err)
			}
			return err
		}
		w.loop = loop
		s.workers = append(s.workers, w)
	}
	s.engine = engine
	return nil
}

// serving is the State for new clients.
func (s *Server) serving() *State { return s.ledger.Load().state }

// Engine is the name of the engine that the event loops use.
func (s *Server) Engine() string { return s.engine }

// AvailableCPUs is the number of CPUs that the process may use: those of its affinity mask, or
// fewer under a CPU quota of its cgroup. It has to be called before Run, which raises GOMAXPROCS.
func AvailableCPUs() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// Addrs are the addresses that the server listens on, with the port that the kernel chose for port
// 0.
func (s *Server) Addrs() []ListenAddr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]ListenAddr, 0, len(s.bound))
	for _, b := range s.bound {
		addrs = append(addrs, ListenAddr{Listener: b.listener.Name, Bind: b.Bind})
	}
	return addrs
}

// ListenAddr is an address on which a listener listens.
type ListenAddr struct {
	Listener string
	Bind     listen.Bind
}

// Workers is the number of event loops.
func (s *Server) Workers() int { return len(s.workers) }

// Connections is the current number of connections, including those being dialled or turned away.
func (s *Server) Connections() int { return int(s.slots.all.Used() + s.slotless.Load()) }

// Dropped is the number of records that were lost because Finished was slow.
func (s *Server) Dropped() uint64 {
	n := uint64(0)
	for _, w := range s.workers {
		n += w.records.dropped.Load()
	}
	return n
}

// SetRecording says whether Finished is called for connections that end from now on. It has no
// effect without Finished.
func (s *Server) SetRecording(on bool) { s.recording.Store(on && s.finished != nil) }

// Run serves until Stop is called, or until ctx is done, which ends all connections at once. It
// returns when everything that it started has ended. If it returns an error, a loop has failed in a
// way that should never happen, and all connections are gone.
func (s *Server) Run(ctx context.Context) error {
	// Each loop keeps a processor of the Go scheduler (a P) during its raw waits. The control plane
	// needs some of its own.
	if want := len(s.workers) + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	cpus := s.placement()
	var loops sync.WaitGroup
	failed := make(chan error, len(s.workers))
	s.addSockets()
	for i, w := range s.workers {
		loops.Go(func() {
			if err := w.loop.Run(cpus[i]); err != nil {
				failed <- fmt.Errorf("event loop %d: %w", i, err)
			}
		})
	}
	recorderDone := make(chan struct{})
	var recorder sync.WaitGroup
	if s.finished != nil || s.step != nil {
		recorder.Go(func() { s.runRecorder(recorderDone) })
	}

	var err error
	select {
	case err = <-failed:
	case <-s.stop:
	case <-ctx.Done():
		// Wait for the cancelled operations, so that each connection gets its record.
		s.StopAccepting()
		s.EndAll(ReasonStopped)
		s.wait(context.Background(), endMost)
	}
	s.Stop() // ask does not wait for loops that have ended
	// A hand-over ends soon now, and gives back what it has.
	s.handing.Lock()
	s.handing.Unlock() //nolint:staticcheck // only waits
	s.kills.wait()
	s.tell(func(w *worker) { w.loop.Quit() })
	loops.Wait()
	s.mu.Lock() // ListeningSockets may be duplicating sockets
	for _, w := range s.workers {
		w.abandon()
	}
	s.mu.Unlock()
	close(recorderDone)
	recorder.Wait()
	return errors.Join(err, s.closeAll())
}

// placement is the CPU of each worker, -1 for any. Loops are bound to CPUs only if there is exactly
// one CPU for each.
func (s *Server) placement() []int {
	cpus := make([]int, len(s.workers))
	for i := range cpus {
		cpus[i] = -1
	}
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil || set.Count() != len(cpus) {
		return cpus
	}
	for cpu, i := 0, 0; i < len(cpus); cpu++ {
		if set.IsSet(cpu) {
			cpus[i] = cpu
			i++
		}
	}
	return cpus
}

// Stop makes Run return. Connections that are still open are closed.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

// StopAccepting closes the listening sockets, after it has accepted the clients that already wait
// in their queues.
func (s *Server) StopAccepting() {
	s.unlinkAll() // from now on, a new process may bind to the paths
	s.tell((*worker).stopAccepting)
}

// EndAll ends every connection, with SideProxy as the side that ended it.
func (s *Server) EndAll(reason Reason) {
	s.tell(func(w *worker) { w.endAll(Outcome{Side: SideProxy, Reason: reason}) })
}

// tell runs f on each loop. It does not wait.
func (s *Server) tell(f func(*worker)) {
	for _, w := range s.workers {
		w.loop.Post(f)
	}
}

// ask runs f on each loop and returns the answers. ok is false if a loop has ended.
func ask[T any](s *Server, f func(*worker) T) (answers []T, ok bool) {
	return askUntil(context.Background(), s, f)
}

// askUntil is ask, but ok is false also if ctx is done first.
func askUntil[T any](ctx context.Context, s *Server, f func(*worker) T) (answers []T, ok bool) {
	answered := make(chan T, len(s.workers))
	for _, w := range s.workers {
		if !w.loop.Post(func(w *worker) { answered <- f(w) }) {
			return nil, false
		}
	}
	for range s.workers {
		select {
		case answer := <-answered:
			answers = append(answers, answer)
		case <-s.stop:
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
	return answers, true
}

// wait reports whether all listeners are closed and all connections have ended before limit is over
// or ctx is done.
func (s *Server) wait(ctx context.Context, limit time.Duration) bool {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	remaining := newAwakeTimer(limit, time.Now())
	for s.listening.Load() > 0 || s.Connections() > 0 {
		if remaining.over(time.Now()) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

// closeAll closes everything that is left. The loops must not be running.
func (s *Server) closeAll() error {
	s.tracer.close()
	s.unlinkAll()
	for _, w := range s.workers {
		w.abandon()
		w.loop.Discard()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Concat(s.bound, s.leaving) {
		b.Close()
	}
	return nil
}
