package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nameServer is a real server on loopback, over UDP and TCP.
type nameServer struct {
	port string

	mu sync.Mutex
	// records are the zone. A name without any does not exist.
	records []dns.RR
	// before, if it is set, may answer by itself, or change the answer.
	before func(w dns.ResponseWriter, q, reply *dns.Msg) (handled bool)
	asked  []string // "TYPE name network"
}

// serve starts a server at address, which may have port 0.
func serve(t *testing.T, address string, records ...string) *nameServer {
	t.Helper()
	packets, stream := listen(t, address)
	s := &nameServer{port: strconv.Itoa(stream.Addr().(*net.TCPAddr).Port)}
	s.set(t, records...)
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: stream, Handler: s}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.ActivateAndServe() // it ends with Shutdown
		}()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-ended
		})
	}
	return s
}

// listen opens both sockets at one port. A free one for UDP may be in use for TCP.
func listen(t *testing.T, address string) (net.PacketConn, net.Listener) {
	t.Helper()
	for try := 0; ; try++ {
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, stream
		}
		packets.Close()
		if try == 20 {
			t.Fatal(err)
		}
	}
}

// set replaces the zone.
func (s *nameServer) set(t *testing.T, records ...string) {
	t.Helper()
	var zone []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		zone = append(zone, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = zone
}

// questions returns what was asked since the last call, sorted.
func (s *nameServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	slices.Sort(asked)
	return asked
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	question := q.Question[0]
	s.asked = append(s.asked, dns.TypeToString[question.Qtype]+" "+question.Name+" "+w.LocalAddr().Network())
	reply := new(dns.Msg)
	reply.SetReply(q)
	reply.RecursionAvailable = true
	reply.Answer, reply.Rcode = s.answer(question)
	before := s.before
	s.mu.Unlock()
	if before != nil && before(w, q, reply) {
		return
	}
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if e := q.IsEdns0(); e != nil {
			size = int(e.UDPSize())
		}
		reply.Truncate(size)
	}
	_ = w.WriteMsg(reply)
}

// answer has the aliases that lead to the records, and these.
func (s *nameServer) answer(q dns.Question) (list []dns.RR, rcode int) {
	name, rcode := q.Name, dns.RcodeNameError
	for range 20 {
		next := ""
		for _, rr := range s.records {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			rcode = dns.RcodeSuccess
			if h.Rrtype == q.Qtype {
				list = append(list, rr)
			} else if alias, ok := rr.(*dns.CNAME); ok {
				list = append(list, rr)
				next = alias.Target
			}
		}
		if next == "" {
			return list, rcode
		}
		name, rcode = next, dns.RcodeNameError
	}
	return list, rcode
}

// hook sets what happens before an answer is sent.
func (s *nameServer) hook(before func(w dns.ResponseWriter, q, reply *dns.Msg) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// resolver returns a Resolver that asks s. conf is what resolv.conf says besides; a nameserver
// there comes first.
func (s *nameServer) resolver(t *testing.T, conf, hosts string) *Resolver {
	t.Helper()
	dir := t.TempDir()
	files := Files{ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts"), Port: s.port}
	write(t, files.ResolvConf, conf+"\nnameserver 127.0.0.1\noptions attempts:1\n")
	write(t, files.Hosts, hosts)
	r := NewResolver(files)
	r.timeout = 5 * time.Second
	return r
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// found is an answer in one line, or the error.
func found(a Answer, err error) string {
	if err != nil {
		return err.Error()
	}
	var list []string
	for _, e := range a.Endpoints {
		text := e.String()
		if e.Host != "" {
			text += fmt.Sprintf(" (%s %d %d)", e.Host, e.Priority, e.Weight)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func lookup(t *testing.T, r *Resolver, name string) string {
	t.Helper()
	host, srv := strings.CutPrefix(name, "srv:")
	return found(r.Lookup(context.WithoutCancel(t.Context()), Name{Host: host, SRV: srv}))
}

func ips(addresses ...string) []Endpoint {
	var list []Endpoint
	for _, a := range addresses {
		list = append(list, Endpoint{IP: netip.MustParseAddr(a)})
	}
	return list
}
