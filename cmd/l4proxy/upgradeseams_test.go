package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// The tests here are about what an upgrade has to do with reloads, drains, host names, the admin
// address and backends that are removed.

func (s *service) client() *client.Client {
	s.t.Helper()
	c, err := client.New("unix:"+filepath.Join(s.dir, "admin"), "")
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// TestUpgradeKeepsListenersClosed: a drained listener, and one whose pool is down, refuse clients
// in the new process from its first moment.
func TestUpgradeKeepsListenersClosed(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, `
admin: {bind: "unix:$DIR/admin"}
listeners:
  web: {bind: "127.0.0.1:0", pool: web}
  other: {bind: "127.0.0.1:0", pool: web}
  down: {bind: "127.0.0.1:0", pool: down, when_no_backend: unlisten}
pools:
  web: {backends: ["`+b.Addr+`"]}
  down: {backends: ["unix:$DIR/none"], health: {interval: 1h, timeout: 1s, rise: 1, fall: 1}}
`)
	s.waitFor(`"msg":"listener closed: no backend of its pool can serve"`)
	if _, err := s.client().Drain(t.Context(), admin.DrainRequest{Listener: "web"}); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var dialling sync.WaitGroup
	for _, name := range []string{"web", "down"} {
		at := s.address(name)
		testnet.Eventually(t, "clients are refused", func() bool {
			_, err := testnet.TryDial("tcp", at)
			return errors.Is(err, unix.ECONNREFUSED)
		})
		dialling.Go(func() {
			for !stop.Load() {
				if c, err := testnet.TryDial("tcp", at); err == nil {
					c.Close()
					t.Errorf("a client of %s, which is closed, was accepted", name)
					return
				}
			}
		})
	}
	for range 8 {
		s.upgrade()
	}
	stop.Store(true)
	dialling.Wait()
	mustEcho(t, testnet.Dial(t, "tcp", s.address("other")), "hello")
	if _, err := s.client().Drain(t.Context(), admin.DrainRequest{Listener: "web", Undo: true}); err != nil {
		t.Fatal(err)
	}
	testnet.Eventually(t, "the listener is open again", func() bool {
		c, err := testnet.TryDial("tcp", s.address("web"))
		if err != nil {
			return false
		}
		defer c.Close()
		return tryEcho(c, "hello") == nil
	})
}

// TestNoDrainGetsLost: once live state has been written down for the next process, operators cannot
// change it here.
func TestNoDrainGetsLost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("listeners: {web: {bind: '127.0.0.1:0'}}\npools: {web: {backends: ['127.0.0.1:1']}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	read := load(file)
	cfg, files, err := read()
	if err != nil {
		t.Fatal(err)
	}
	p, err := start(t.Context(), cfg, nil, io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.upgrades.program = thisProgram()
	p.allowReload(read, files)
	signals := make(chan os.Signal, 1)
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.serve(signals) })
	defer func() {
		signals <- unix.SIGTERM
		serving.Wait()
	}()
	drains := map[string]func() (*admin.Drain, error){
		"listener": func() (*admin.Drain, error) { return p.adminDrain(t.Context(), admin.DrainRequest{Listener: "web"}) },
		"backend": func() (*admin.Drain, error) {
			return p.adminSetBackend(t.Context(), "web", "127.0.0.1:1", admin.BackendChange{State: admin.BackendDrain})
		},
	}
	if _, err := p.upgrades.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := &handing{p: p, admin: -1}
	defer h.close()
	if _, _, err := h.Pause(); err != nil {
		t.Fatal(err)
	}
	for what, drain := range drains {
		if _, err := drain(); err == nil || !strings.Contains(err.Error(), errUpgrading.Error()) {
			t.Errorf("drain of a %s after the state was written down: %v, want %v", what, err, errUpgrading)
		}
	}
	h.Resume()
	for what, drain := range drains {
		if _, err := drain(); err != nil {
			t.Errorf("drain of a %s after the upgrade has failed: %v", what, err)
		}
	}
	p.upgrades.end(p.upgrades.result, io.EOF)
}

// TestUpgradeRemovesABackend: on_removed decides about the connections of a backend, or of a whole
// pool, that the new configuration does not have.
func TestUpgradeRemovesABackend(t *testing.T) {
	kept, removed := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Serve(t, "tcp", "", testnet.Echo)
	config := func(backend, rest string) string {
		return `
drain: {timeout: 100ms}
listeners: {web: {bind: "127.0.0.1:0"}}
pools:
  web: {backends: ["` + backend + `"]` + rest + "}\n"
	}
	for rest, stays := range map[string]bool{", on_removed: keep": true, ", on_removed: reset": false, "": false} {
		t.Run("web"+rest, func(t *testing.T) {
			s := newService(t, config(removed.Addr, ""))
			c := testnet.Dial(t, "tcp", s.address("web"))
			mustEcho(t, c, "before")
			s.configure(config(kept.Addr, rest))
			s.upgrade()
			if stays {
				mustEcho(t, c, "after")
				return
			}
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes came", n)
			}
			s.waitFor(`"msg":"connection".*"reason":"backend_removed"`)
			if n := s.count(`"msg":"connection"`); n != 1 {
				t.Errorf("%d lines for one connection", n)
			}
		})
	}
	t.Run("the pool", func(t *testing.T) {
		s := newService(t, config(removed.Addr, ""))
		c := testnet.Dial(t, "tcp", s.address("web"))
		mustEcho(t, c, "before")
		s.configure(strings.ReplaceAll(config(kept.Addr, ""), "web", "next"))
		s.upgrade()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the connection stays open")
		}
		s.waitFor(`"msg":"connection".*"reason":"backend_removed"`)
	})
}

// TestUpgradeMovesFiles: the new configuration has other paths for its unix sockets. The files of
// the old ones do not stay behind.
func TestUpgradeMovesFiles(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	config := func(admin, front string) string {
		return `
admin: {bind: "unix:$DIR/` + admin + `"}
listeners: {web: {bind: ["127.0.0.1:0", "unix:$DIR/` + front + `"]}}
pools: {web: {backends: ["` + b.Addr + `"]}}
`
	}
	s := newService(t, config("first", "front"))
	c := testnet.Dial(t, "unix", filepath.Join(s.dir, "front"))
	mustEcho(t, c, "before")
	s.configure(config("admin", "second"))
	s.upgrade()
	for _, gone := range []string{"first", "front"} {
		if _, err := os.Lstat(filepath.Join(s.dir, gone)); err == nil {
			t.Errorf("the file %s is left", gone)
		}
	}
	mustEcho(t, c, "after")
	mustEcho(t, testnet.Dial(t, "unix", filepath.Join(s.dir, "second")), "hello")
	if _, err := s.client().Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestUpgradeCarriesReloadsOn: the new process counts configurations on, and knows how the last
// reload ended.
func TestUpgradeCarriesReloadsOn(t *testing.T) {
	const good = `
admin: {bind: "unix:$DIR/admin"}
listeners: {web: {bind: "127.0.0.1:0"}}
pools: {web: {backends: ["127.0.0.1:1"]}}
`
	s := newService(t, good)
	if _, err := s.client().Reload(t.Context(), admin.ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
	s.configure("nonsense")
	if _, err := s.client().Reload(t.Context(), admin.ReloadRequest{}); err == nil {
		t.Fatal("a bad file was loaded")
	}
	before, err := s.client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.configure(good)
	s.upgrade()
	after, err := s.client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.Config.Generation != 2 || after.Config.Generation != 3 {
		t.Errorf("generation %d, then %d, want 2 and 3", before.Config.Generation, after.Config.Generation)
	}
	if f := after.Config.LastFailure; after.Config.LastOK || f == nil || !strings.Contains(f.Error, "nonsense") && f.Error != before.Config.LastFailure.Error {
		t.Errorf("last reload: %v, %+v, want that of the old process, which failed", after.Config.LastOK, f)
	}
	if after.Config.LastSuccess == nil || !after.Started.Equal(before.Started) || after.PID == before.PID {
		t.Errorf("status: %+v, before: %+v", after, before)
	}
	if r, err := s.client().Reload(t.Context(), admin.ReloadRequest{}); err != nil || r.Generation != 4 {
		t.Errorf("the next reload: %+v, %v", r, err)
	}
}

// TestUpgradeWithoutANameServer: the name server is down, which is no reason to refuse an upgrade.
func TestUpgradeWithoutANameServer(t *testing.T) {
	b := testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo)
	_, port, err := net.SplitHostPort(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	zone, conf := filepath.Join(dir, "zone"), filepath.Join(dir, "resolv.conf")
	for name, text := range map[string]string{zone: "echo.test. 60 IN A 127.0.0.1\n", conf: "nameserver 127.0.0.1\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: packets, Handler: zoneFile(zone)}
	var answering sync.WaitGroup
	answering.Go(func() { _ = server.ActivateAndServe() }) // it ends with its socket
	down := func() {
		packets.Close()
		answering.Wait()
	}
	defer down()
	_, dnsPort, _ := net.SplitHostPort(packets.LocalAddr().String())
	s := newService(t, `
listeners: {web: {bind: "127.0.0.1:0"}}
pools: {web: {backends: ["echo.test:`+port+`"]}}
`, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, resolvConfVariable+"="+conf, dnsPortVariable+"="+dnsPort)
	})
	at := s.address("web")
	c := testnet.Dial(t, "tcp", at)
	mustEcho(t, c, "before")
	down()
	for range 2 {
		began := time.Now()
		s.upgrade()
		if took := time.Since(began); took > testnet.Patience/4 {
			t.Errorf("the upgrade took %v", took)
		}
	}
	mustEcho(t, c, "after")
	mustEcho(t, testnet.Dial(t, "tcp", at), "a new client")
}
