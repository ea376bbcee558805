package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"

	"l4proxy/admin/client"
	"l4proxy/config"
	"l4proxy/confine"
	"l4proxy/control"
	"l4proxy/doctor"
	"l4proxy/eventloop"
	"l4proxy/proxy"
)

// answerWait bounds the wait for a running proxy, and for a name server.
const answerWait = 2 * time.Second

// patient is what the doctor looks at.
type patient struct {
	facts *doctor.Facts
	file  string // the configuration; "" for none
	// about says what is looked at, for people.
	about []string
}

func examine(ctx context.Context, flags *adminFlags, env func(string) (string, bool)) (*patient, error) {
	p := &patient{facts: &doctor.Facts{
		Root: os.DirFS("/"), Version: version, CPUs: proxy.AvailableCPUs(),
		Landlock:      confine.LandlockABI(),
		TryIOUring:    func() error { _, _, err := eventloop.Probe(eventloop.IOUring); return err },
		AskNameServer: func(ip netip.Addr) error { return askNameServer(ctx, ip) },
	}}
	p.readConfig(ctx, flags.config, env)
	if err := p.findProxy(ctx, flags, env); err != nil {
		return nil, err
	}
	return p, nil
}

// readConfig does what a start does before it opens anything.
func (p *patient) readConfig(ctx context.Context, flag string, env func(string) (string, bool)) {
	file := configFile(flag, env)
	named, _ := env("L4PROXY_CONFIG")
	if _, err := os.Stat(file); file != "" && flag == "" && named == "" && errors.Is(err, fs.ErrNotExist) {
		p.about = append(p.about, fmt.Sprintf("configuration: none (there is no ./%s, and -c names no other): this is about the machine alone", defaultConfig))
		return
	}
	p.file = file
	p.about = append(p.about, "configuration: "+cmp.Or(file, "environment"))
	fail := func(err error) {
		for line := range strings.Lines(err.Error()) {
			p.facts.ConfigErrors = append(p.facts.ConfigErrors, strings.TrimSpace(line))
		}
	}
	cfg, err := config.Load(file, env)
	if err != nil {
		fail(err)
		return
	}
	p.facts.Config = cfg
	if p.facts.Plan, err = control.Build(cfg, control.Gather(ctx, cfg, newDirectory().Lookup)); err != nil {
		fail(err)
	}
}

// findProxy asks the running proxy, if its address is known. Only an address that was named has to
// make sense.
func (p *patient) findProxy(ctx context.Context, flags *adminFlags, env func(string) (string, bool)) error {
	address, named := env("L4PROXY_ADMIN")
	if flags.address != "" {
		address, named = flags.address, true
	}
	named = named && address != ""
	if !named && (p.facts.Config == nil || p.facts.Config.Admin == nil) {
		p.about = append(p.about, "limits: those of this shell (name a running proxy with --admin to see its own)")
		return nil
	}
	c, err := flags.client(env)
	if err != nil && named {
		return err
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, answerWait)
		defer cancel()
		p.facts.Status, err = c.Status(ctx)
	}
	if err != nil {
		if c != nil {
			err = explainAdmin(c, err)
		}
		p.about = append(p.about, fmt.Sprintf("limits: those of this shell (%v)", err))
		return nil
	}
	if local(c) && isProxy(p.facts.Status.PID) {
		p.facts.PID = p.facts.Status.PID
		p.about = append(p.about, fmt.Sprintf("limits: those of the running proxy, process %d", p.facts.PID))
	} else {
		p.about = append(p.about, fmt.Sprintf("limits: those of this shell (process %d at %s is not on this machine, or in a container)", p.facts.Status.PID, c.Address()))
	}
	return nil
}

// local reports whether the address of a client is one of this machine only.
func local(c *client.Client) bool {
	if strings.HasPrefix(c.Address(), "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(strings.TrimPrefix(c.Address(), "http://"))
	ip, ipErr := netip.ParseAddr(host)
	return err == nil && (host == "" || host == "localhost" || ipErr == nil && (ip.IsLoopback() || ip.IsUnspecified()))
}

// isProxy reports whether a process is an l4proxy: in a container, a process has another number
// than outside.
func isProxy(pid int) bool {
	own, err1 := os.ReadFile("/proc/self/comm")
	its, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err1 == nil && err2 == nil && (string(its) == string(own) || strings.HasPrefix(string(its), "l4proxy"))
}

// askNameServer returns nil if the server answers at all.
func askNameServer(ctx context.Context, ip netip.Addr) error {
	query := new(dns.Msg)
	query.SetQuestion(".", dns.TypeNS)
	asker := dns.Client{Timeout: answerWait}
	port := cmp.Or(resolverFiles.Port, "53")
	_, _, err := asker.ExchangeContext(ctx, query, net.JoinHostPort(ip.String(), port))
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no answer in %v", answerWait)
	}
	return err
}
