package discovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestAddressesOfAName(t *testing.T) {
	s := serve(t, "127.0.0.1:0",
		"both.test. 60 A 10.0.0.2", "both.test. 30 A 10.0.0.1", "both.test. 90 AAAA 2001:db8::1",
		"six.test. 60 AAAA 2001:db8::1", "mapped.test. 60 AAAA ::ffff:10.0.0.3", "mapped.test. 60 A 10.0.0.3",
		"alias.test. 20 CNAME other.test.", "other.test. 10 CNAME both.test.",
		"loop.test. 60 CNAME pool.test.", "pool.test. 60 CNAME loop.test.",
		"dangling.test. 60 CNAME nothing.test.",
		"text.test. 60 TXT hello",
		"blocked.test. 60 A 0.0.0.0", "blocked.test. 60 AAAA ::",
		"odd.test. 60 A 224.0.0.1", "odd.test. 60 A 255.255.255.255", "odd.test. 60 AAAA fe80::1", "odd.test. 60 A 10.0.0.1",
		"zero.test. 0 A 10.0.0.1", "long.test. 2147483647 A 10.0.0.1",
		"UPPER.test. 60 A 10.0.0.1",
	)
	r := s.resolver(t, "", "")
	for name, want := range map[string]string{
		"both.test":     "10.0.0.1, 10.0.0.2, 2001:db8::1",
		"both.test.":    "10.0.0.1, 10.0.0.2, 2001:db8::1",
		"six.test":      "2001:db8::1",
		"mapped.test":   "10.0.0.3",
		"alias.test":    "10.0.0.1, 10.0.0.2, 2001:db8::1",
		"loop.test":     errChain.Error(),
		"dangling.test": "no such host",
		"nosuch.test":   "no such host",
		"text.test":     "the name has no address",
		"blocked.test":  "the name has no address",
		"odd.test":      "10.0.0.1",
		"upper.TEST":    "10.0.0.1",
	} {
		if got := lookup(t, r, name); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]time.Duration{
		"both.test": 30 * time.Second, "alias.test": 10 * time.Second, "zero.test": 0, "long.test": 2147483647 * time.Second,
	} {
		if a, err := r.Lookup(t.Context(), Name{Host: name}); err != nil || a.TTL != want {
			t.Errorf("TTL of %s: %v, %v; want %v", name, a.TTL, err, want)
		}
	}
}

// A server need not know the other end of an alias.
func TestAliasAcrossAnswers(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "alias.test. 20 CNAME other.test.", "other.test. 10 A 10.0.0.1")
	s.hook(func(_ dns.ResponseWriter, _, reply *dns.Msg) bool {
		reply.Answer = reply.Answer[:min(1, len(reply.Answer))]
		return false
	})
	if got := lookup(t, s.resolver(t, "", ""), "alias.test"); got != "10.0.0.1" {
		t.Error(got)
	}
}

func TestService(t *testing.T) {
	s := serve(t, "127.0.0.1:0",
		"_pg._tcp.test. 60 SRV 10 5 5432 a.test.", "_pg._tcp.test. 60 SRV 20 0 5433 b.test.", "_pg._tcp.test. 60 SRV 10 7 5434 hosts.test.",
		"a.test. 5 A 10.0.0.1", "a.test. 60 A 10.0.0.2", "b.test. 60 AAAA 2001:db8::1",
		"_off._tcp.test. 60 SRV 0 0 0 .", "_gone._tcp.test. 60 SRV 0 0 80 nosuch.test.", "_gone._tcp.test. 60 SRV 1 0 80 b.test.",
		"_pg._tcp.db.example. 60 SRV 1 1 1 a.test.", "plain.test. 60 A 10.0.0.1",
	)
	r := s.resolver(t, "search db.example", "10.9.9.9 hosts.test")
	for name, want := range map[string]string{
		"srv:_pg._tcp.test":   "10.0.0.1:5432 (a.test 10 5), 10.0.0.2:5432 (a.test 10 5), 10.9.9.9:5434 (hosts.test 10 7), [2001:db8::1]:5433 (b.test 20 0)",
		"srv:_off._tcp.test":  "the name has no address",
		"srv:_gone._tcp.test": "[2001:db8::1]:80 (b.test 1 0)",
		"srv:_pg._tcp":        "10.0.0.1:1 (a.test 1 1), 10.0.0.2:1 (a.test 1 1)",
		"srv:plain.test":      "the name has no SRV record",
		"srv:nosuch.test":     "no such host",
	} {
		if got := lookup(t, r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if a, err := r.Lookup(t.Context(), Name{Host: "_pg._tcp.test", SRV: true}); err != nil || a.TTL != 0 {
		t.Errorf("TTL %v, %v; want 0, which a name in the file has", a.TTL, err)
	}
}

// search and ndots are used as in resolv.conf(5), and a name with a dot at its end as it is.
func TestSearchDomains(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.one.example. 60 A 10.0.0.1", "db.two.example. 60 A 10.0.0.2", "a.b. 60 A 10.0.0.3",
		"a.b.two.example. 60 A 10.0.0.4", "empty.one.example. 60 TXT x", "empty.two.example. 60 A 10.0.0.5")
	for _, test := range []struct{ conf, name, want string }{
		{"search one.example two.example", "db", "10.0.0.1"},
		{"search three.example two.example", "db", "10.0.0.2"},
		{"search one.example two.example", "db.", "no such host"},
		{"search two.example", "a.b", "10.0.0.3"},
		{"search two.example\noptions ndots:2", "a.b", "10.0.0.4"},
		{"domain two.example", "db", "10.0.0.2"},
		{"search one.example two.example", "empty", "10.0.0.5"},
	} {
		if got := lookup(t, s.resolver(t, test.conf, ""), test.name); got != test.want {
			t.Errorf("%s with %q: %s, want %s", test.name, test.conf, got, test.want)
		}
	}
}

// A server that fails for the first domain must not lead to a host of that name in the next one.
func TestFailureEndsTheSearch(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.two.example. 60 A 10.0.0.2")
	s.hook(func(_ dns.ResponseWriter, q, reply *dns.Msg) bool {
		if strings.HasSuffix(q.Question[0].Name, "one.example.") {
			reply.Rcode = dns.RcodeServerFailure
		}
		return false
	})
	got := lookup(t, s.resolver(t, "search one.example two.example", ""), "db")
	if want := "name server 127.0.0.1:" + s.port + ": it answered SERVFAIL"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A name that does not exist has no address of either family, even if the server fails for IPv6.
func TestNoNameDespiteAFailure(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.two.example. 60 A 10.0.0.2")
	s.hook(func(_ dns.ResponseWriter, q, reply *dns.Msg) bool {
		if q.Question[0].Qtype == dns.TypeAAAA {
			reply.Rcode, reply.Answer = dns.RcodeServerFailure, nil
		}
		return false
	})
	if got := lookup(t, s.resolver(t, "search one.example two.example", ""), "db"); got != "10.0.0.2" {
		t.Error(got)
	}
}

// Names in the file never go to a server, in any spelling.
func TestHostsFile(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.test. 60 A 10.0.0.9", "localhost. 60 A 10.0.0.9")
	r := s.resolver(t, "", "# comment\n10.0.0.1 db.test DB2.test # db3.test\n::1 db.test\nbad db4.test\n10.0.0.2\n")
	for name, want := range map[string]string{
		"db.test": "10.0.0.1, ::1", "DB.test.": "10.0.0.1, ::1", "db2.test": "10.0.0.1", "localhost": "127.0.0.1", "a.localhost": "127.0.0.1",
	} {
		if got := lookup(t, r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if asked := s.questions(); len(asked) > 0 {
		t.Errorf("the server was asked %v", asked)
	}
	write(t, r.hosts.path, "10.0.0.77 db.test\n")
	if got := lookup(t, r, "db.test"); got != "10.0.0.77" {
		t.Errorf("after a change of the file: %s", got)
	}
	if err := os.Remove(r.hosts.path); err != nil {
		t.Fatal(err)
	}
	if got := lookup(t, r, "db.test"); got != "10.0.0.9" {
		t.Errorf("without the file: %s", got)
	}
}

func TestTruncatedAnswersComeOverTCP(t *testing.T) {
	var records []string
	for i := range 300 {
		records = append(records, fmt.Sprintf("big.test. 60 A 10.1.%d.%d", i/250, i%250+1))
	}
	s := serve(t, "127.0.0.1:0", records...)
	a, err := s.resolver(t, "", "").Lookup(t.Context(), Name{Host: "big.test"})
	if err != nil || len(a.Endpoints) != 300 {
		t.Errorf("%d addresses, %v; want 300", len(a.Endpoints), err)
	}
	if asked, want := s.questions(), []string{"A big.test. tcp", "A big.test. udp", "AAAA big.test. udp"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}

func TestTooManyAddresses(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	s.hook(func(w dns.ResponseWriter, q, reply *dns.Msg) bool {
		reply.Rcode, reply.Compress = dns.RcodeSuccess, true
		for i := range 3000 {
			if rr, err := dns.NewRR(fmt.Sprintf("many.test. 60 A 10.2.%d.%d", i/250, i%250+1)); err == nil && q.Question[0].Qtype == dns.TypeA {
				reply.Answer = append(reply.Answer, rr)
			}
		}
		return false
	})
	a, err := s.resolver(t, "", "").Lookup(t.Context(), Name{Host: "many.test"})
	if err != nil || len(a.Endpoints) != maxEndpoints || a.Dropped != 3000-maxEndpoints {
		t.Errorf("%d addresses, %d dropped, %v", len(a.Endpoints), a.Dropped, err)
	}
}

// A server that does not know EDNS gets the question again without it.
func TestServerWithoutEDNS(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.test. 60 A 10.0.0.1")
	s.hook(func(_ dns.ResponseWriter, q, reply *dns.Msg) bool {
		if q.IsEdns0() != nil {
			reply.Rcode, reply.Answer = dns.RcodeFormatError, nil
		}
		return false
	})
	if got := lookup(t, s.resolver(t, "", ""), "db.test"); got != "10.0.0.1" {
		t.Error(got)
	}
}

// The next server is asked when one fails, refuses, refers to others, or does not answer.
func TestNextServer(t *testing.T) {
	good := serve(t, "127.0.0.1:0", "db.test. 60 A 10.0.0.1")
	bad := serve(t, "127.0.0.2:"+good.port)
	for what, before := range map[string]func(w dns.ResponseWriter, q, reply *dns.Msg) bool{
		"SERVFAIL": func(_ dns.ResponseWriter, _, reply *dns.Msg) bool { reply.Rcode = dns.RcodeServerFailure; return false },
		"REFUSED":  func(_ dns.ResponseWriter, _, reply *dns.Msg) bool { reply.Rcode = dns.RcodeRefused; return false },
		"referral": func(_ dns.ResponseWriter, _, reply *dns.Msg) bool {
			reply.Rcode, reply.RecursionAvailable = dns.RcodeSuccess, false
			ns, _ := dns.NewRR("test. 60 NS ns.test.")
			reply.Ns = []dns.RR{ns}
			return false
		},
		"silence": func(dns.ResponseWriter, *dns.Msg, *dns.Msg) bool { return true },
	} {
		bad.hook(before)
		r := good.resolver(t, "nameserver 127.0.0.2", "")
		r.timeout = 200 * time.Millisecond
		if got := lookup(t, r, "db.test"); got != "10.0.0.1" {
			t.Errorf("%s: %s", what, got)
		}
		if len(bad.questions()) == 0 {
			t.Errorf("%s: the first server was not asked", what)
		}
	}
	bad.hook(func(dns.ResponseWriter, *dns.Msg, *dns.Msg) bool { return true })
	r := good.resolver(t, "nameserver 127.0.0.2", "")
	r.timeout = 200 * time.Millisecond
	for range 3 {
		if got := lookup(t, r, "db.test"); got != "10.0.0.1" {
			t.Errorf("silent server: %s", got)
		}
	}
	if asked := bad.questions(); len(asked) != 2 {
		t.Errorf("a silent server was asked %v, want each question once", asked)
	}
	r = good.resolver(t, "nameserver 127.0.0.3\nnameserver nonsense", "") // no server there
	if got := lookup(t, r, "db.test"); got != "10.0.0.1" {
		t.Errorf("first server gone: %s", got)
	}
}

// Datagrams that are no answer to the question are skipped.
func TestLiesAreIgnored(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.test. 60 A 10.0.0.1")
	s.hook(func(w dns.ResponseWriter, q, reply *dns.Msg) bool {
		lie := func(change func(m *dns.Msg)) {
			m := new(dns.Msg)
			m.SetReply(q)
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 A 66.6.6.6")
			m.Answer = []dns.RR{rr}
			change(m)
			_ = w.WriteMsg(m)
		}
		lie(func(m *dns.Msg) { m.Id++ })
		lie(func(m *dns.Msg) { m.Question[0].Name = "other.test." })
		lie(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT })
		lie(func(m *dns.Msg) { m.Question = nil })
		lie(func(m *dns.Msg) { m.Response = false })
		_, _ = w.Write([]byte("no message at all"))
		_, _ = w.Write(nil)
		return false
	})
	if got := lookup(t, s.resolver(t, "", ""), "db.test"); got != "10.0.0.1" {
		t.Error(got)
	}
	// Records of other names in the answer are not those of the name.
	s.hook(func(_ dns.ResponseWriter, _, reply *dns.Msg) bool {
		rr, _ := dns.NewRR("other.test. 60 A 66.6.6.6")
		reply.Answer = append(reply.Answer, rr)
		return false
	})
	if got := lookup(t, s.resolver(t, "", ""), "db.test"); got != "10.0.0.1" {
		t.Error(got)
	}
}

func TestNoServerAnswers(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	s.hook(func(dns.ResponseWriter, *dns.Msg, *dns.Msg) bool { return true })
	r := s.resolver(t, "options attempts:2", "")
	write(t, r.conf.path, "nameserver 127.0.0.1\noptions attempts:2\n")
	r.timeout = 50 * time.Millisecond
	if got, want := lookup(t, r, "db.test"), "name server 127.0.0.1:"+s.port+": no answer in time"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if asked := s.questions(); len(asked) != 4 {
		t.Errorf("asked %v, want each question twice", asked)
	}
	r.timeout = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	s.hook(func(dns.ResponseWriter, *dns.Msg, *dns.Msg) bool { cancel(); return true })
	if _, err := r.Lookup(ctx, Name{Host: "db.test"}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A server that fails for IPv6 only gives half an answer, which says what it lacks.
func TestHalfAnAnswer(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "db.test. 60 A 10.0.0.1", "db.test. 60 AAAA 2001:db8::1", "_db._tcp.test. 60 SRV 1 1 1 db.test.",
		"_db._tcp.test. 60 SRV 1 1 1 ok.test.", "ok.test. 60 A 10.0.0.2")
	s.hook(func(_ dns.ResponseWriter, q, reply *dns.Msg) bool {
		if q.Question[0].Name == "db.test." && q.Question[0].Qtype == dns.TypeAAAA {
			reply.Rcode, reply.Answer = dns.RcodeServerFailure, nil
		}
		return false
	})
	r := s.resolver(t, "", "")
	a, err := r.Lookup(t.Context(), Name{Host: "db.test"})
	if err != nil || found(a, nil) != "10.0.0.1" || !slices.Equal(a.Failed, []Part{{IPv6: true}}) || a.Err == nil {
		t.Errorf("%+v, %v", a, err)
	}
	a, err = r.Lookup(t.Context(), Name{Host: "_db._tcp.test", SRV: true})
	if err != nil || len(a.Endpoints) != 2 || !slices.Equal(a.Failed, []Part{{"db.test", true}}) || a.Err == nil {
		t.Errorf("%+v, %v", a, err)
	}
}

// Another resolv.conf is used from the next look-up on, also if a symbolic link was switched, as
// systemd-resolved and NetworkManager do it.
func TestResolvConfIsFollowed(t *testing.T) {
	one := serve(t, "127.0.0.1:0", "db.test. 60 A 10.0.0.1")
	serve(t, "127.0.0.2:"+one.port, "db.test. 60 A 10.0.0.2")
	r := one.resolver(t, "", "")
	dir := filepath.Dir(r.conf.path)
	steps := []struct {
		what, want string
		change     func() error
	}{
		{"at first", "10.0.0.1", func() error { return nil }},
		{"written again", "10.0.0.2", func() error { write(t, r.conf.path, "nameserver 127.0.0.2\n"); return nil }},
		{"missing: the server of this machine", "10.0.0.1", func() error { return os.Remove(r.conf.path) }},
		{"a link", "10.0.0.2", func() error {
			write(t, filepath.Join(dir, "a"), "nameserver 127.0.0.2\n")
			return os.Symlink("a", r.conf.path)
		}},
		{"another link", "10.0.0.1", func() error {
			write(t, filepath.Join(dir, "b"), "nameserver 127.0.0.1\n")
			if err := os.Symlink("b", filepath.Join(dir, "new")); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "new"), r.conf.path)
		}},
		{"unreadable: what was read last", "10.0.0.1", func() error {
			if err := os.Remove(r.conf.path); err != nil {
				return err
			}
			return os.Mkdir(r.conf.path, 0o755)
		}},
	}
	for _, step := range steps {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		if got := lookup(t, r, "db.test"); got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
	}
}
