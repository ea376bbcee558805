package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"l4proxy/bans"
	"l4proxy/config"
	"l4proxy/confine"
	"l4proxy/control"
	"l4proxy/eventloop"
	"l4proxy/events"
	"l4proxy/logs"
	"l4proxy/proxy"
	"l4proxy/systemd"
	"l4proxy/upgrade"
)

func newRunCommand(file, pid *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the proxy (the default command)",
		Long: "Run the proxy until SIGTERM or SIGINT, which shut it down gracefully. SIGHUP reloads the\n" +
			"configuration, SIGUSR2 upgrades to the binary on disk. The log goes to standard error.\n\n" +
			"Without a file, LISTENER_PORT, BACKEND_PORTS and ACCESS_CONTROL_LIST in the environment are a\n" +
			"whole configuration.",
		Example: "  l4proxy run -c /etc/l4proxy/config.yaml\n" +
			"  LISTENER_PORT=:8080 BACKEND_PORTS=127.0.0.1:8081 ACCESS_CONTROL_LIST=0.0.0.0/0 l4proxy",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxy(cmd, *file, pidFile(*pid)) },
	}
	addConfigFlag(cmd, file)
	addPIDFileFlag(cmd, pid)
	return cmd
}

// logFlush is how long the last log lines may take when the process ends.
const logFlush = 2 * time.Second

// logPatience is how long the recorder waits for an output that takes nothing. No connection waits
// for it: records gather in the rings meanwhile, and those that find no room are dropped and
// counted.
const logPatience = time.Second

func runProxy(cmd *cobra.Command, file string, pid pidFile) error {
	program := thisProgram()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR2)
	defer signal.Stop(signals)
	starting, started := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer started()
	from, err := joinUpgrade()
	if err != nil {
		return failure{err}
	}
	manager, err := systemd.Take()
	if err != nil {
		return from.failed(err)
	}
	cfg, files, err := loadUnlessStopped(starting, file)
	if err != nil {
		return from.failed(err)
	}
	give := &privileges{files: files, pid: pid, from: from}
	p, err := startUnlessStopped(starting, cfg, manager, cmd.ErrOrStderr(), from, give)
	if err != nil {
		pid.remove()
		return from.failed(err)
	}
	started()
	p.upgrades.program, p.pidFile = program, pid
	p.allowReload(load(file), files)
	from.loadReloads(p)
	if from != nil {
		p.receiving(true)
	}
	go debug.FreeOSMemory() // what reading a large configuration took
	err = p.serve(signals)
	result, handedOver := p.upgrades.succeeded()
	if !handedOver {
		pid.remove()
		return err
	}
	if err == nil { // the pid file belongs to the new process, even if that has not written it yet
		err = stayAsParent(result, signals)
	}
	return err
}

// loadUnlessStopped reads the configuration. SIGTERM or SIGINT cancels it, as it cancels start: to
// wait for a pipe, a network file system or a name server that does not answer takes long.
func loadUnlessStopped(starting context.Context, file string) (*config.Config, []config.File, error) {
	var cfg *config.Config
	var files []config.File
	var err error
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		cfg, files, err = load(file)()
	}()
	select {
	case <-loaded:
		return cfg, files, err
	case <-starting.Done():
		return nil, nil, errInterrupted
	}
}

var errInterrupted = errors.New("interrupted by a signal during startup")

// startUnlessStopped is start, and says so if a signal has canceled it.
func startUnlessStopped(starting context.Context, cfg *config.Config, manager *systemd.Manager, stderr io.Writer, from *takeover, give *privileges) (*process, error) {
	p, err := startConfined(starting, cfg, manager, stderr, from, give)
	if err != nil && starting.Err() != nil {
		return nil, errInterrupted
	}
	return p, err
}

// process is a running proxy with its log.
type process struct {
	cfg    *config.Config
	server *proxy.Server
	live   *control.Live
	logger *logs.Logger
	log    *slog.Logger
	always *slog.Logger // for lines that any level has
	level  *logs.Levels

	plan      *control.Plan // of cfg
	fileLimit int
	reloader  *control.Reloader // nil: the configuration stays as it is
	drainer   drainer           // knows whether the process is about to stop
	systemd   *systemdService
	sampler   *sampler
	pending   pendingChanges
	serving   atomic.Bool // clients are accepted
	admin     *adminAddress
	bans      *bans.Store
	sampled   statsMemory
	asked     statsMemory

	began    time.Time // start of the service, which outlives upgrades
	pidFile  pidFile
	from     *takeover // nil if this process was not started by an upgrade
	upgrades upgrades
	parent   atomic.Pointer[upgrade.Parent]
	confined *confine.Report // nil: everything is as it was at the start
	// handedOver is closed when another process has taken over.
	handedOver chan struct{}
}

// start does everything that can fail. When it returns an error, nothing is left open. from is the
// process that an upgrade replaces, nil for none. The process keeps its privileges.
func start(ctx context.Context, cfg *config.Config, manager *systemd.Manager, stderr io.Writer, from *takeover) (*process, error) {
	return startConfined(ctx, cfg, manager, stderr, from, nil)
}

// startConfined is start, and gives up privileges once everything is open, before the process
// serves.
func startConfined(ctx context.Context, cfg *config.Config, manager *systemd.Manager, stderr io.Writer, from *takeover, give *privileges) (*process, error) {
	fileLimit, err := control.RaiseFileLimit()
	if err != nil {
		return nil, err
	}
	names := newDirectory()
	from.loadNames(names, slog.Default())
	plan, err := control.Build(cfg, control.Gather(ctx, cfg, names.Lookup))
	if err != nil {
		return nil, err
	}
	if err := give.check(cfg, plan); err != nil {
		return nil, err
	}
	workers := cfg.Workers
	if workers == 0 {
		workers = proxy.AvailableCPUs()
	}
	connections, err := control.MaxConnections(cfg.MaxConnections, fileLimit, workers,
		plan.ListenSockets(workers), plan.OtherDescriptors())
	if err != nil {
		return nil, err
	}
	dropped, err := manager.Assign(listenersOf(plan))
	if err != nil {
		return nil, err
	}
	p := new(process)
	level := p.newLevels(cfg.Log.Level)
	logger, err := logs.New(logs.Options{Level: level, Format: cfg.Log.Format.String(), Out: stderr})
	if err != nil {
		return nil, err
	}
	hub := events.NewHub(time.Now())
	// All lines are events too, except for those of connections and of their steps.
	log := slog.New(events.NewHandler(logger.Slog().Handler(), hub))
	always := slog.New(events.NewHandler(logger.Always().Handler(), hub))
	*p = process{cfg: cfg, logger: logger, log: log, always: always, level: level, live: control.NewLive(log),
		plan: plan, fileLimit: fileLimit, began: time.Now(), from: from, handedOver: make(chan struct{})}
	p.sampler = newSampler(p.sampleStats, logger.Dropped, hub)
	p.live.Directory = names
	names.LogTo(p.log)
	p.systemd = newSystemdService(manager, p.log, dropped)
	p.admin = &adminAddress{view: adminView{p}, commands: p.commands(), queries: p.queries(), metrics: p.metricsHandler(),
		events: &eventSource{hub, p.sampler}, lookup: names.Lookup, log: p.log}
	options := proxy.Options{Engine: cfg.Engine.String(), Workers: workers, MaxConnections: connections, Log: p.log,
		Inherited: manager.Inherited, KeepFile: manager.FromUnit}
	p.openBans(from)
	options.Bans = p.bans
	lines := connectionLog{logger.Slog()}
	options.Finished = func(r *proxy.Record) {
		logger.AwaitRoom(logPatience)
		lines.finished(r)
	}
	steps := stepLog{logger.Always()}
	options.Step = func(s *proxy.Step) {
		logger.AwaitRoom(logPatience)
		steps.step(s)
	}
	options.Lost = logger.Missed
	from.prepare(&options)
	if err := p.live.Apply(plan, func(state *proxy.State) (err error) {
		p.server, err = proxy.Listen(state, options)
		return err
	}); err != nil {
		p.closeLog()
		return nil, err
	}
	if err := p.admin.open(plan.Admin, from.adminSocket(plan.Admin)...); err != nil {
		p.abandon()
		return nil, err
	}
	p.server.SetRecording(cfg.Log.Connections)
	p.server.SetDeniedRecords(cfg.Log.Denied)
	p.server.TraceAll(level.Level() <= slog.LevelDebug)
	from.load(p)
	if err := give.up(p, plan); err != nil {
		p.abandon()
		return nil, err
	}
	if err := from.ready(p); err != nil { // before the log: clients wait for it
		p.abandon()
		return nil, err
	}
	for _, w := range cfg.Warnings {
		p.log.Warn("configuration: " + w.Error())
	}
	p.log.Info("l4proxy started", "version", version, "config", source(cfg), "engine", p.server.Engine(), "workers", workers,
		"max_connections", connections)
	p.logConfined()
	for _, a := range p.server.Addrs() {
		p.log.Info("listening", "listener", a.Listener, "address", a.Bind.String())
	}
	return p, nil
}

func source(cfg *config.Config) string {
	if cfg.File == "" {
		return "environment"
	}
	return cfg.File
}

// serve runs until a signal has stopped the proxy, or until it has failed.
func (p *process) serve(signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var others sync.WaitGroup
	others.Go(func() {
		p.obey(ctx, signals)
		p.server.Stop()
	})
	others.Go(func() { p.live.Run(ctx, p.server) })
	others.Go(func() { p.systemd.run(ctx, p.server) })
	others.Go(func() { p.runReloader(ctx) })
	others.Go(func() { p.bans.Run(ctx) })
	others.Go(func() {
		p.from.receive(p) // the counters of the old process, which are no event
		p.sampler.run(ctx)
	})
	p.admin.serve()
	p.serving.Store(true)
	err := p.server.Run(ctx)
	p.admin.stop()
	cancel()
	others.Wait()
	var panicked *eventloop.PanicError
	if errors.As(err, &panicked) {
		p.log.Error("l4proxy crashed: this is a bug, please report it", "error", panicked.Error(),
			"stack", string(panicked.Stack))
	} else if err != nil {
		p.log.Error("l4proxy failed", "error", err.Error())
	}
	p.closeLog()
	if err != nil {
		return errReported
	}
	return nil
}

// abandon ends a process that has started and does not serve.
func (p *process) abandon() {
	p.admin.discard()
	p.server.Stop()
	_ = p.server.Run(context.Background()) // it returns at once, and closes everything
	p.closeLog()
}

func (p *process) closeLog() {
	p.level.Reset() // ends its timer
	ctx, cancel := context.WithTimeout(context.Background(), logFlush)
	defer cancel()
	p.logger.Close(ctx)
}

// obey handles signals and requests until the proxy has been stopped by one, or ctx is done.
func (p *process) obey(ctx context.Context, signals <-chan os.Signal) {
	var upgrading sync.WaitGroup
	defer upgrading.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-p.drainer.asked():
			if p.stopUpgrading(r.signal) {
				p.leave(ctx, signals, true)
				return
			}
			p.drain(ctx, r, signals)
			return
		case <-p.handedOver:
			p.leave(ctx, signals, false)
			return
		case s := <-signals:
			switch s {
			case unix.SIGHUP:
				p.reloader.Trigger("SIGHUP") // only run is notified of it
			case unix.SIGUSR2:
				upgrading.Go(func() { _, _ = p.Upgrade(ctx, "") }) // the error is in the log
			default:
				if p.stopUpgrading(s) {
					p.leave(ctx, signals, true)
					return
				}
				_ = p.drainer.request(drainRequest{signal: s}) // fails if the admin API was faster
				p.drain(ctx, <-p.drainer.asked(), signals)
				return
			}
		}
	}
}
