package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"l4proxy/config"
	"l4proxy/filewatch"
	"l4proxy/proxy"
)

// Reloader owns the running configuration. It puts another one into effect while the proxy serves,
// one at a time, or keeps the running one if the other has any problem. Make one with NewReloader.
//
// All of a configuration is checked before anything changes: it is read, its names are resolved,
// its limits derived, its listening sockets opened.
type Reloader struct {
	live *Live
	o    ReloadOptions
	log  *slog.Logger

	turn   chan struct{} // held while a configuration is put into effect, or compared
	ctx    context.Context
	cancel context.CancelFunc
	rounds sync.WaitGroup // goroutines

	mu      sync.Mutex
	running *configured
	trial   *trial // nil unless the running configuration is unconfirmed
	waiting map[roundKey]*round
	blocked string // why no reload is allowed, "" if it is
	busy    bool   // turn is held by a reload
	history history
	files   []config.File // of the last attempt

	mark    sample        // how things were after the last change; belongs to the holder of turn
	watched chan struct{} // wakes Run: other files may have to be watched; has room for one
	asked   chan string   // by Trigger; has room for one
}

// ReloadOptions are what a Reloader needs of the program around it.
type ReloadOptions struct {
	// Load reads the configuration again, and returns the files that it has read.
	Load func() (*config.Config, []config.File, error)
	// Lookup resolves host names.
	Lookup Lookup
	// Install puts a State into service, with the most connections of the process. If it fails,
	// nothing has changed.
	Install func(s *proxy.State, maxConnections int) error
	// Counts are the counters of the data plane, for a Guard.
	Counts func() proxy.Counts
	// Stages put into effect what is not part of the data plane, in order.
	Stages []Stage
	// Reloading, if set, is called when a reload begins and when it has ended.
	Reloading func(bool)
	// FileLimit is the limit of open files, Workers the number of event loops.
	FileLimit, Workers int
	Log                *slog.Logger
}

// A Stage prepares the change from one configuration to the next for a part of the program, such as
// the admin address. If it fails, the reload is refused. Then either commit or abort is called,
// which cannot fail. Each may be nil.
type Stage func(running, next *config.Config) (commit, abort func(), err error)

// configured is a configuration that can be put into effect.
type configured struct {
	cfg        *config.Config
	plan       *Plan
	generation uint64
}

// Request says what to do with the configuration that is read.
type Request struct {
	// DryRun only reports what would change.
	DryRun bool `json:"dry_run,omitempty"`
	// Confirm rolls the change back after that time, unless Keep comes first; 0 needs no Keep.
	Confirm time.Duration `json:"-"`
	// Guard, if set, rolls the change back as soon as something got worse. Without Confirm it
	// watches for DefaultConfirm, and then keeps the change by itself.
	Guard *ReloadGuard `json:"guard,omitempty"`
	// Quiet logs nothing. It is for dry runs that no operator has asked for.
	Quiet bool `json:"-"`
	// Source is where the request came from, for the log: "SIGHUP".
	Source string `json:"-"`
}

const (
	// DefaultConfirm is how long a Guard watches if no time is given.
	DefaultConfirm = time.Minute
	// maxConfirm bounds Confirm.
	maxConfirm = 24 * time.Hour
	// maxWaiting bounds how many different requests may wait.
	maxWaiting = 16
)

// Result is what a reload has changed, or would change.
type Result struct {
	// Generation counts the configurations that were put into effect, the first being 1.
	Generation uint64   `json:"generation"`
	DryRun     bool     `json:"dry_run,omitempty"`
	Changes    []Change `json:"changes"`
	Warnings   []string `json:"warnings"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
	// Unconfirmed is set if the configuration is rolled back unless it is kept.
	Unconfirmed *Unconfirmed `json:"unconfirmed,omitempty"`
}

// NewReloader returns the Reloader for a configuration that is in effect, with the files that it
// was read from. live has applied plan.
func NewReloader(live *Live, cfg *config.Config, plan *Plan, files []config.File, o ReloadOptions) *Reloader {
	r := &Reloader{
		live: live, o: o, log: o.Log,
		turn:    make(chan struct{}, 1),
		running: &configured{cfg: cfg, plan: plan, generation: 1},
		waiting: make(map[roundKey]*round),
		files:   files,
		watched: make(chan struct{}, 1),
		asked:   make(chan string, 1),
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.history.applied(1, time.Now())
	return r
}

// Config is the running configuration. Settings that take effect only with a start have the values
// that are in effect.
func (r *Reloader) Config() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running.cfg
}

// Run reloads when Trigger asks for it, and when a watched file has changed. It returns when ctx is
// done and everything that the Reloader started has stopped.
func (r *Reloader) Run(ctx context.Context) {
	defer r.Close()
	watcher := filewatch.New(func(name string) filewatch.Sum { return config.ReadFile(name).Sum },
		func(name string) { r.Trigger("change of " + name) }, r.log)
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching.Go(func() { watcher.Run(ctx) })
	r.watch()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.watched:
			watcher.Watch(r.filesToWatch())
		case source := <-r.asked:
			_, err := r.Reload(ctx, Request{Source: source})
			if refused := new(Refused); errors.As(err, &refused) { // all else is in the log
				r.log.Warn("reload refused", "source", source, "error", err.Error())
			}
		}
	}
}

// Trigger requests a reload and returns at once. While another request waits, it does nothing.
func (r *Reloader) Trigger(source string) {
	select {
	case r.asked <- source:
	default:
	}
}

// watch makes Run watch the files that matter now.
func (r *Reloader) watch() {
	select {
	case r.watched <- struct{}{}:
	default:
	}
}

// filesToWatch are the files of the last attempt, none if they are not to be watched. Those of a
// configuration that was refused count as well: one of them has to change.
func (r *Reloader) filesToWatch() (files []filewatch.File, settle time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	how := r.running.cfg.Reload
	if how.Watch {
		for _, f := range r.files {
			files = append(files, filewatch.File(f))
		}
	}
	return files, how.Settle
}

// Close cancels reloads, refuses others and returns when none is under way. An unconfirmed
// configuration stays in effect.
func (r *Reloader) Close() {
	r.mu.Lock()
	if r.blocked == "" {
		r.blocked = "the proxy is stopping"
	}
	unconfirmed := r.trial != nil
	r.endTrial()
	r.cancel()
	r.mu.Unlock()
	if unconfirmed {
		r.log.Warn("stopping with an unconfirmed configuration: the next start reads the file as it is")
	}
	r.rounds.Wait()
}

// Refused is the error for a reload that is not allowed at the moment.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return "no reload now: " + r.Reason }

// ErrUnconfirmed is the reason why Block fails.
var ErrUnconfirmed = errors.New("the running configuration is unconfirmed: keep it (l4proxy reload --keep) or roll it back first")

// Block refuses reloads for a reason, until Unblock, and waits for the one that is under way. It
// fails while a configuration is unconfirmed: another process could not roll it back.
func (r *Reloader) Block(ctx context.Context, reason string) error {
	r.mu.Lock()
	if r.blocked != "" {
		defer r.mu.Unlock()
		return &Refused{r.blocked}
	}
	r.blocked = reason
	r.mu.Unlock()
	err := r.takeTurn(ctx)
	if err == nil {
		r.mu.Lock()
		if r.trial != nil {
			err = ErrUnconfirmed
		}
		r.mu.Unlock()
		r.giveTurn()
	}
	if err != nil {
		r.Unblock()
	}
	return err
}

// Unblock allows reloads again.
func (r *Reloader) Unblock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() == nil {
		r.blocked = ""
	}
}

func (r *Reloader) takeTurn(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Reloader) giveTurn() { <-r.turn }

// check refuses a request that makes no sense.
func (q *Request) check() error {
	switch {
	case q.Confirm < 0 || q.Confirm > maxConfirm:
		return fmt.Errorf("confirm %v: write a time from 1s to %v", q.Confirm, maxConfirm)
	case q.Confirm > 0 && q.Confirm < time.Second:
		return fmt.Errorf("confirm %v is too short to keep anything: write 1s or more", q.Confirm)
	case q.Guard != nil:
		return q.Guard.check()
	}
	return nil
}
