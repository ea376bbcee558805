package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/config"
	"l4proxy/proxy"
)

const smallConfig = `{"log": {"format": "json"}, "listeners": {"web": {"bind": "127.0.0.1:0"}}, "pools": {"web": {"backends": ["127.0.0.1:1"]}}}`

// Within this process, so that goleak sees whether serve leaves something behind.
func TestServeEndsWhatItStarted(t *testing.T) {
	cfg, err := config.Parse("config.json", []byte(smallConfig), nil)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	p, err := start(t.Context(), cfg, nil, &stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.allowReload(func() (*config.Config, []config.File, error) { return cfg, nil, nil }, nil)
	signals := make(chan os.Signal, 2)
	signals <- unix.SIGHUP // its reload may be canceled by the shutdown
	signals <- unix.SIGTERM
	if err := p.serve(signals); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`"msg":"listening"`, `"msg":"stopped"`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, stderr.String())
		}
	}
}

// SIGTERM works while a reload hangs, for example in a file system that does not answer.
func TestStopDuringReload(t *testing.T) {
	cfg, err := config.Parse("config.json", []byte(smallConfig), nil)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	p, err := start(t.Context(), cfg, nil, &stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	loading, release, loaded := make(chan struct{}), make(chan struct{}), make(chan struct{})
	p.allowReload(func() (*config.Config, []config.File, error) {
		defer close(loaded)
		close(loading)
		<-release
		return cfg, nil, nil
	}, nil)
	signals := make(chan os.Signal, 2)
	signals <- unix.SIGHUP
	go func() {
		<-loading
		signals <- unix.SIGTERM
	}()
	if err := p.serve(signals); err != nil {
		t.Error(err)
	}
	close(release)
	<-loaded
	for _, want := range []string{`"msg":"reload canceled: the running configuration stays in effect"`, `"msg":"stopped"`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, stderr.String())
		}
	}
}

func TestStartGivesUp(t *testing.T) {
	cfg, err := config.Parse("config.json", []byte(strings.Replace(smallConfig, "127.0.0.1:1", "db.invalid:1", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := start(ctx, cfg, nil, new(bytes.Buffer), nil); err == nil || !strings.HasPrefix(err.Error(), "config.json:1:107: pool web, backend db.invalid:1: ") {
		t.Errorf("error %v, want one that names the place, the pool and the backend", err)
	}
}

func TestConfigFile(t *testing.T) {
	t.Chdir(t.TempDir())
	none := map[string]string{}
	all := map[string]string{"LISTENER_PORT": ":80", "BACKEND_PORTS": "h:1", "ACCESS_CONTROL_LIST": ""}
	two := map[string]string{"LISTENER_PORT": ":80", "BACKEND_PORTS": "h:1"}
	named := map[string]string{"L4PROXY_CONFIG": "named.yaml", "LISTENER_PORT": ":80", "BACKEND_PORTS": "h:1", "ACCESS_CONTROL_LIST": ""}
	empty := map[string]string{"L4PROXY_CONFIG": ""}
	check := func(flag string, variables map[string]string, want string) {
		t.Helper()
		env := func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
		if got := configFile(flag, env); got != want {
			t.Errorf("configFile(%q, %v) = %q, want %q", flag, variables, got, want)
		}
	}
	check("", none, "config.json")
	check("", two, "config.json")
	check("", all, "")
	check("", empty, "config.json")
	check("", named, "named.yaml")
	check("flag.json", named, "flag.json")
	check("flag.json", all, "flag.json")
	if err := os.WriteFile("config.json", []byte(smallConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	check("", all, "config.json")
}

// connectionFields are those of a connection's line, in their order.
var connectionFields = []string{"listener", "client", "backend", "pool", "bytes_in", "bytes_out", "duration",
	"connect_time", "attempts", "reason", "side", "rule", "tcp_rtt", "retransmits", "peer", "sni", "unique_id", "error", "failed"}

func TestConnectionLog(t *testing.T) {
	pool := &proxy.Pool{Name: "pg"}
	record := proxy.Record{
		Outcome:  proxy.Outcome{Side: proxy.SideBackend, Reason: proxy.ReasonReset},
		Listener: &proxy.Listener{Name: "postgres"},
		Pool:     pool,
		Client:   netip.MustParseAddrPort("[2001:db8::1]:4000"),
		Backend:  &backend.Backend{Address: "db:5432"},
		Rule:     "allow[0]",
		BytesIn:  1 << 40, BytesOut: 2,
		Duration: 90*time.Minute + 1500*time.Nanosecond, Connect: 250 * time.Microsecond,
		Attempts: 2, RTT: 42 * time.Microsecond, Retransmits: 7,
	}
	line := logged(t, slog.LevelInfo, &record)
	const want = `"level":"INFO","msg":"connection","listener":"postgres","client":"[2001:db8::1]:4000","backend":"db:5432",` +
		`"pool":"pg","bytes_in":1099511627776,"bytes_out":2,"duration":5400.000001,"connect_time":0.00025,"attempts":2,` +
		`"reason":"reset","side":"backend","rule":"allow[0]","tcp_rtt":0.000042,"retransmits":7}`
	if _, got, _ := strings.Cut(line, ","); got != want+"\n" {
		t.Errorf("got  %swant %s", got, want)
	}

	record.Failed = []proxy.FailedDial{
		{Backend: &backend.Backend{Address: "10.0.0.5:5432"}, Reason: proxy.ReasonConnectRefused},
		{Backend: &backend.Backend{Address: "[2001:db8::5]:5432"}, Reason: proxy.ReasonConnectTimeout},
	}
	const failed = `,"retransmits":7,"failed":"10.0.0.5:5432 connect_refused, [2001:db8::5]:5432 connect_timeout"}` + "\n"
	if line := logged(t, slog.LevelInfo, &record); !strings.HasSuffix(line, failed) {
		t.Errorf("got %s", line)
	}
	record.Failed = nil

	record.ViaProxy, record.Peer = true, netip.MustParseAddrPort("10.9.0.1:5000")
	record.ServerName, record.UniqueID = "db.example.com", "0a-1"
	const via = `,"retransmits":7,"peer":"10.9.0.1:5000","sni":"db.example.com","unique_id":"0a-1"}` + "\n"
	if line := logged(t, slog.LevelInfo, &record); !strings.HasSuffix(line, via) {
		t.Errorf("got %s", line)
	}
	record.ViaProxy, record.ServerName, record.UniqueID = false, "", ""

	record.Reason, record.Errno = proxy.ReasonError, unix.EPERM
	const errno = `,"retransmits":7,"error":"operation not permitted"}` + "\n"
	if line := logged(t, slog.LevelInfo, &record); !strings.HasSuffix(line, errno) {
		t.Errorf("got %s", line)
	}
	record.Reason = proxy.ReasonReset

	// A client on a unix socket has no address, and a client for which no backend was dialled has
	// no backend.
	record.Client, record.Backend = netip.AddrPort{}, nil
	if line := logged(t, slog.LevelInfo, &record); !strings.Contains(line, `"client":"unix","backend":"",`) {
		t.Errorf("got %s", line)
	}
	if line := logged(t, slog.LevelWarn, &record); line != "" {
		t.Errorf("at level warn: %s", line)
	}
	record.Reason = proxy.ReasonNoBackend
	if line := logged(t, slog.LevelWarn, &record); !strings.Contains(line, `"level":"WARN"`) {
		t.Errorf("at level warn: %q", line)
	}
}

func logged(t *testing.T, level slog.Level, record *proxy.Record) string {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))
	connectionLog{log}.finished(record)
	if out.Len() > 0 && !json.Valid(out.Bytes()) {
		t.Errorf("not JSON: %s", out.String())
	}
	return out.String()
}
