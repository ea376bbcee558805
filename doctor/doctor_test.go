package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/control"
	"l4proxy/discovery"
)

// machine are the files of an ordinary machine. A test changes some of them; "" removes a file.
var machine = map[string]string{
	"proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max open files            1024                 1048576              files     \n" +
		"Max locked memory         8388608              8388608              bytes     \n",
	"proc/self/status":       "Name:\tl4proxy\nCapEff:\t0000000000000000\nSeccomp:\t0\nCpus_allowed_list:\t0-3\n",
	"proc/self/cgroup":       "0::/system.slice/ssh.service\n",
	"proc/self/net/netstat":  "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeWaitOverflow\nTcpExt: 0 0 0 0\nIpExt: InNoRoutes\nIpExt: 1\n",
	"proc/self/net/sockstat": "sockets: used 28\nTCP: inuse 13 orphan 0 tw 142 alloc 13 mem 240\nUDP: inuse 0 mem 0\n",
	"proc/self/net/if_inet6": "00000000000000000000000000000001 01 80 10 80       lo\n",
	"proc/self/ns/net":       "-> net:[4026531840]",

	"proc/sys/fs/nr_open":                                         "1048576",
	"proc/sys/fs/file-nr":                                         "1902\t0\t9223372036854775807",
	"proc/sys/fs/pipe-user-pages-soft":                            "16384",
	"proc/sys/fs/pipe-user-pages-hard":                            "0",
	"proc/sys/kernel/osrelease":                                   "6.1.0-13-amd64",
	"proc/sys/kernel/io_uring_disabled":                           "0",
	"proc/sys/net/core/somaxconn":                                 "4096",
	"proc/sys/net/ipv4/tcp_syncookies":                            "1",
	"proc/sys/net/ipv4/tcp_max_syn_backlog":                       "512",
	"proc/sys/net/ipv4/ip_local_port_range":                       "32768\t60999",
	"proc/sys/net/ipv4/ip_local_reserved_ports":                   "",
	"proc/sys/net/ipv4/tcp_max_tw_buckets":                        "131072",
	"proc/sys/net/ipv4/tcp_tw_reuse":                              "2",
	"proc/sys/net/ipv4/tcp_mem":                                   "287898\t383865\t575796",
	"proc/sys/net/ipv4/ip_unprivileged_port_start":                "1024",
	"proc/sys/net/ipv6/conf/all/disable_ipv6":                     "0",
	"proc/sys/net/netfilter/nf_conntrack_max":                     "262144",
	"proc/sys/net/netfilter/nf_conntrack_count":                   "100",
	"proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
	"proc/net/stat/nf_conntrack":                                  "entries  found drop early_drop\n00000064  00000000 00000000 00000000\n00000064  00000000 00000000 00000000\n",

	"sys/devices/system/clocksource/clocksource0/current_clocksource":   "tsc",
	"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
	"sys/devices/system/node/node0/cpulist":                             "0-3",

	"sys/fs/cgroup/cgroup.controllers":                    "cpu memory",
	"sys/fs/cgroup/system.slice/ssh.service/cpu.max":      "max 100000",
	"sys/fs/cgroup/system.slice/ssh.service/memory.max":   "max",
	"sys/fs/cgroup/system.slice/cpu.max":                  "max 100000",
	"sys/fs/cgroup/system.slice/l4proxy.service/cpu.max":  "max 100000",
	"sys/fs/cgroup/system.slice/l4proxy.service/cpu.stat": "usage_usec 5\nnr_periods 1000\nnr_throttled 0\n",

	"etc/resolv.conf": "search example.com\nnameserver 10.0.0.2\n",

	// The running proxy.
	"proc/77/limits": "Max open files            524288               524288               files     \n" +
		"Max locked memory         8388608              8388608              bytes     \n",
	"proc/77/status":       "Name:\tl4proxy\nUid:\t999 999 999 999\nCapEff:\t0000000000000400\nSeccomp:\t2\nCpus_allowed_list:\t0-3\n",
	"proc/77/cgroup":       "0::/system.slice/l4proxy.service\n",
	"proc/77/net/netstat":  "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 0 0\n",
	"proc/77/net/sockstat": "TCP: inuse 13 orphan 0 tw 142 alloc 13 mem 240\n",
	"proc/77/net/if_inet6": "00000000000000000000000000000001 01 80 10 80       lo\n",
	"proc/77/ns/net":       "-> net:[4026531840]",
	"proc/77/exe":          "-> /usr/bin/l4proxy",
	"proc/77/fd/0":         "x",
}

// with is the machine with other files. An entry "-> TARGET" is a symbolic link.
func with(changes map[string]string) fstest.MapFS {
	root := make(fstest.MapFS)
	put := func(name, text string) {
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case link:
			root[name] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(target)}
		case text == "":
			delete(root, name)
		default:
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	for name, text := range machine {
		put(name, text)
	}
	for name, text := range changes {
		put(name, text)
	}
	return root
}

const simple = `{listeners: {web: {bind: "127.0.0.1:8080"}}, pools: {app: {backends: ["127.0.0.1:8081"]}}}`

// load reads a configuration; "" is none.
func load(t *testing.T, f *Facts, text string) {
	t.Helper()
	if text == "" {
		return
	}
	cfg, err := config.Parse("test.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Config = cfg
	lookup := func(context.Context, discovery.Name) ([]discovery.Endpoint, error) {
		return []discovery.Endpoint{{IP: netip.MustParseAddr("192.0.2.1")}}, nil
	}
	if f.Plan, err = control.Build(cfg, control.Gather(t.Context(), cfg, lookup)); err != nil {
		t.Fatal(err)
	}
}

// running makes a proxy run as process 77.
func running(f *Facts) {
	f.PID = 77
	f.Status = &admin.Status{Version: f.Version, PID: 77, Engine: "io_uring", Workers: f.CPUs, MaxConnections: 250_000}
}

// test is what one check finds.
type test struct {
	check   string
	name    string
	changes map[string]string
	config  string
	adjust  func(*Facts)
	level   Level
	found   string // a part of it
	do      string // a part of it
}

func facts(t *testing.T, tt *test) *Facts {
	f := &Facts{
		Root: with(tt.changes), Version: "1.0", CPUs: 4,
		TryIOUring:    func() error { return nil },
		Landlock:      6,
		AskNameServer: func(netip.Addr) error { return nil },
	}
	if tt.adjust != nil {
		tt.adjust(f)
	}
	load(t, f, tt.config)
	return f
}

func TestChecks(t *testing.T) {
	good, bad := make(map[string]bool), make(map[string]bool)
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.check+": "+tt.name, func(t *testing.T) {
			findings := Run(facts(t, tt))
			i := slices.IndexFunc(findings, func(f Finding) bool { return f.Check == tt.check })
			if i < 0 {
				t.Fatalf("no finding; others: %+v", findings)
			}
			f := findings[i]
			if f.Level != tt.level || !strings.Contains(f.Found, tt.found) || !strings.Contains(f.Do, tt.do) {
				t.Errorf("%s: %s\n%s\nwant %s: %s\n%s", f.Level, f.Found, f.Do, tt.level, tt.found, tt.do)
			}
			if (f.Level == OK) != (f.Why == "") || (f.Level == OK) != (f.Do == "") || f.Found == "" {
				t.Errorf("incomplete: %+v", f)
			}
			if tt.level == OK {
				good[tt.check] = true
			} else {
				bad[tt.check] = true
			}
		})
	}
	for _, c := range Checks {
		if !good[c.Name] || !bad[c.Name] {
			t.Errorf("%s: a good case %t, a bad case %t; want both", c.Name, good[c.Name], bad[c.Name])
		}
	}
}

// Nothing is wrong with an ordinary machine, with and without a configuration or a running proxy.
func TestOrdinaryMachine(t *testing.T) {
	for _, tt := range []test{{}, {config: simple}, {adjust: running}, {config: simple, adjust: running}} {
		for _, f := range Run(facts(t, &tt)) {
			if f.Level != OK {
				t.Errorf("config %t: %+v", tt.config != "", f)
			}
		}
	}
}

// A machine of which nothing can be read, such as one without /proc, is no reason to panic or to
// raise an alarm.
func TestUnreadableMachine(t *testing.T) {
	f := facts(t, &test{config: simple, adjust: running})
	f.Root = make(fstest.MapFS)
	for _, finding := range Run(f) {
		if finding.Level != OK {
			t.Errorf("%+v", finding)
		}
	}
	for name := range machine {
		for _, text := range []string{"\x00", "-", "9 9 9 9", "a b:c\nd", ":\n,-", "99999999999999999999999", "-1 -1"} {
			Run(facts(t, &test{config: simple, adjust: running, changes: map[string]string{name: text}}))
			Run(facts(t, &test{config: simple, changes: map[string]string{name: text}}))
		}
	}
}

func TestProblemsComeFirst(t *testing.T) {
	findings := Run(facts(t, &test{
		config: `{listeners: {web: {bind: "0.0.0.0:80", timeouts: {idle: 1m}}}, pools: {app: {backends: ["127.0.0.1:40000"]}}}`,
	}))
	var levels []Level
	for _, f := range findings {
		levels = append(levels, f.Level)
	}
	if !slices.IsSortedFunc(levels, func(a, b Level) int { return int(b - a) }) || levels[0] != Problem {
		t.Errorf("levels %v", levels)
	}
	for level, want := range map[Level]int{Problem: 1, Warning: 1, Note: 1} {
		if got := Count(findings, level); got != want {
			t.Errorf("%d times %s, want %d", got, level, want)
		}
	}
}

func TestPrint(t *testing.T) {
	findings := []Finding{
		{Check: "a", Level: Problem, Found: "two\nlines", Why: "Because.", Do: "this\nor that"},
		{Check: "long-name", Level: OK, Found: "5 of 7"},
	}
	var b strings.Builder
	if err := Print(&b, findings, false, false); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"problem  a          two\n" +
		"                    lines\n" +
		"                    Because.\n" +
		"                    -> this\n" +
		"                       or that\n" +
		"ok       long-name\n"
	if b.String() != want {
		t.Errorf("printed\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	if err := Print(&b, findings[1:], true, true); err != nil || b.String() != "\x1b[32mok     \x1b[0m  long-name  5 of 7\n" {
		t.Errorf("printed %q, %v", b.String(), err)
	}
}

func TestLevelsAsText(t *testing.T) {
	for l := OK; l <= Problem; l++ {
		text, err := l.MarshalText()
		var back Level
		if err != nil || back.UnmarshalText(text) != nil || back != l {
			t.Errorf("%d is %q, and back %d (%v)", l, text, back, err)
		}
	}
	if new(Level).UnmarshalText([]byte("bad")) == nil {
		t.Error("bad is a level")
	}
}

var errForbidden = errors.New("forbidden")

func noRing(f *Facts) { f.TryIOUring = func() error { return errForbidden } }

func as(changes ...func(*Facts)) func(*Facts) {
	return func(f *Facts) {
		for _, c := range changes {
			c(f)
		}
	}
}

func limits(files int) string {
	return fmt.Sprintf("Max open files            %d                 %[1]d              files     \n", files)
}
