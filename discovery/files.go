package discovery

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// watched is a file that is read again when it has changed. A symbolic link that points to another
// file counts as a change.
type watched[T any] struct {
	path  string
	parse func(*os.File) (T, error)

	mu    sync.Mutex
	known bool
	info  fs.FileInfo // nil when there is no file
	value T
}

// get returns the content. A missing file is empty. On an error it returns what was read last,
// if anything was: the file may be half written.
func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := os.Open(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		if !w.known || w.info != nil {
			w.value, w.known, w.info = *new(T), true, nil
		}
		return w.value, nil
	}
	if err != nil {
		return w.last(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return w.last(err)
	}
	if w.info != nil && os.SameFile(w.info, info) && w.info.ModTime().Equal(info.ModTime()) && w.info.Size() == info.Size() {
		return w.value, nil
	}
	value, err := w.parse(f)
	if err != nil {
		return w.last(err)
	}
	w.value, w.known, w.info = value, true, info
	return w.value, nil
}

func (w *watched[T]) last(err error) (T, error) {
	if w.known {
		return w.value, nil
	}
	return w.value, fmt.Errorf("cannot read %s: %w", w.path, err)
}

// resolvConf is what resolv.conf(5) says. nil is one that is missing.
type resolvConf struct {
	servers  []string // host:port
	names    func(host string) []string
	timeout  time.Duration
	attempts int
}

const (
	maxServers  = 3 // as in resolv.conf(5)
	maxAttempts = 5
	maxTimeout  = 30 * time.Second
)

func parseResolvConf(f *os.File) (*resolvConf, error) {
	c, err := dns.ClientConfigFromReader(f)
	if err != nil {
		return nil, err
	}
	conf := &resolvConf{
		names:    c.NameList,
		timeout:  min(time.Duration(c.Timeout)*time.Second, maxTimeout),
		attempts: min(c.Attempts, maxAttempts),
	}
	for _, s := range c.Servers {
		if _, err := netip.ParseAddr(s); err == nil && len(conf.servers) < maxServers {
			conf.servers = append(conf.servers, s)
		}
	}
	return conf, nil
}

// orDefault is what resolv.conf(5) asks for when there is no file, or none with a server.
func (c *resolvConf) orDefault() *resolvConf {
	if c == nil {
		none := &dns.ClientConfig{Ndots: 1}
		c = &resolvConf{names: none.NameList, timeout: 5 * time.Second, attempts: 2}
	}
	if len(c.servers) == 0 {
		local := *c
		local.servers = []string{"127.0.0.1", "::1"}
		return &local
	}
	return c
}

func (c *resolvConf) addresses(port string) []string {
	addresses := make([]string, len(c.servers))
	for i, s := range c.servers {
		addresses[i] = net.JoinHostPort(s, cmp.Or(port, "53"))
	}
	return addresses
}

// hosts are the addresses in hosts(5), by name.
type hosts map[string][]netip.Addr

const maxHostsLine = 64 << 10

func parseHosts(f *os.File) (hosts, error) {
	found := make(hosts)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxHostsLine)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = hostKey(name)
			if !slices.Contains(found[name], ip.Unmap()) {
				found[name] = append(found[name], ip.Unmap())
			}
		}
	}
	return found, lines.Err()
}

func hostKey(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// local returns the addresses of a name that is never asked for: those in the file and, by RFC
// 6761 section 6.3, localhost. That is one machine, so it has one address: a second one would be a
// second backend for the same server, and mostly a dead one.
func (h hosts) local(name string) []netip.Addr {
	name = hostKey(name)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return h[name]
}
