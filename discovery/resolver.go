package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks for names, and keeps no answer. Several goroutines may use it. Make one with
// NewResolver.
type Resolver struct {
	conf  watched[*resolvConf]
	hosts watched[hosts]

	// port is the port of the name servers, and timeout the time for one query; "" and 0 are those
	// of resolv.conf(5).
	port    string
	timeout time.Duration
	// sockets has an entry for each socket that is open.
	sockets chan struct{}
	// answered is the index of the server that has answered last.
	answered atomic.Int32
}

// socketsAtOnce bounds the sockets of a Resolver, and so the load on a name server.
const socketsAtOnce = 16

// Files are where a Resolver finds its settings.
type Files struct {
	ResolvConf, Hosts string
	// Port is the port of the name servers; "" is 53.
	Port string
}

// System are the files of this machine.
var System = Files{ResolvConf: "/etc/resolv.conf", Hosts: "/etc/hosts"}

// NewResolver returns a Resolver for these files. It reads them at each look-up, if they have
// changed.
func NewResolver(f Files) *Resolver {
	return &Resolver{
		conf:  watched[*resolvConf]{path: f.ResolvConf, parse: parseResolvConf},
		hosts: watched[hosts]{path: f.Hosts, parse: parseHosts},
		port:  f.Port, sockets: make(chan struct{}, socketsAtOnce),
	}
}

var (
	// errNoAddress is the answer of a server that knows the name, or the file's.
	errNoAddress = errors.New("the name has no address")
	errNoName    = errors.New("no such host")
)

// maxTTL is the highest valid TTL: RFC 2181 section 8 gives it 31 bits.
const maxTTL = 1<<31 - 1

// Lookup asks for a name. Without any endpoint, it returns an error.
func (r *Resolver) Lookup(ctx context.Context, name Name) (Answer, error) {
	conf, err := r.conf.get()
	if err != nil {
		return Answer{}, err
	}
	known, err := r.hosts.get()
	if err != nil {
		return Answer{}, err
	}
	q := &query{client: r.client(conf.orDefault()), hosts: known}
	var a Answer
	if name.SRV {
		a, err = q.service(ctx, name.Host)
	} else {
		a, err = q.host(ctx, name.Host, true)
	}
	if err != nil {
		return Answer{}, err
	}
	if a = a.tidy(); len(a.Endpoints) == 0 {
		return Answer{}, cmp.Or(a.Err, errNoAddress)
	}
	return a, nil
}

func (r *Resolver) client(conf *resolvConf) *client {
	return &client{
		servers:  conf.addresses(r.port),
		names:    conf.names,
		timeout:  cmp.Or(r.timeout, conf.timeout),
		attempts: conf.attempts,
		sockets:  r.sockets,
		answered: &r.answered,
	}
}

// query is one look-up.
type query struct {
	client *client
	hosts  hosts
}

// host asks for the addresses of a host. With search, the domains of resolv.conf are tried.
func (q *query) host(ctx context.Context, host string, search bool) (Answer, error) {
	if local := q.hosts.local(host); local != nil {
		var a Answer
		for _, ip := range local {
			a.Endpoints = append(a.Endpoints, Endpoint{IP: ip})
		}
		return a, nil
	}
	names := []string{dns.Fqdn(host)}
	if search {
		names = q.client.names(host)
	}
	return first(names, func(name string) (Answer, error) { return q.addresses(ctx, name) })
}

// first returns the answer of the first name that has one. Only a name that does not exist, or has
// no address, leads to the next domain. When a server fails, the next domain might have another
// host with that name.
func first[T any](names []string, ask func(name string) (T, error)) (none T, err error) {
	err = errNoName
	for _, name := range names {
		a, failed := ask(name)
		if failed == nil || !definite(failed) {
			return a, failed
		}
		if errors.Is(failed, errNoAddress) {
			err = failed // the name exists
		}
	}
	return none, err
}

// definite reports whether an error is the answer of a server, and not the lack of one.
func definite(err error) bool { return errors.Is(err, errNoName) || errors.Is(err, errNoAddress) }

// addresses asks for both families at the same time.
func (q *query) addresses(ctx context.Context, name string) (Answer, error) {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	var found [2]records
	var errs [2]error
	var both sync.WaitGroup
	for i, t := range types {
		both.Go(func() { found[i], errs[i] = q.client.ask(ctx, name, t) })
	}
	both.Wait()
	a := Answer{TTL: maxTTL * time.Second}
	for i, f := range found {
		switch {
		case errs[i] == nil:
			a.TTL = min(a.TTL, f.ttl)
		case !definite(errs[i]):
			a.Failed = append(a.Failed, Part{IPv6: i == 1})
			a.Err = errs[i]
		}
		for _, rr := range f.list {
			switch rr := rr.(type) {
			case *dns.A:
				a.add(rr.A)
			case *dns.AAAA:
				a.add(rr.AAAA)
			}
		}
	}
	switch {
	case len(a.Endpoints) > 0:
		return a, nil
	case errors.Is(errs[0], errNoName) || errors.Is(errs[1], errNoName):
		return Answer{}, errNoName // of any type (RFC 8020), whatever the other answer is
	case a.Err != nil:
		return Answer{}, a.Err
	}
	return Answer{}, errNoAddress
}

func (a *Answer) add(address []byte) {
	if ip, ok := netip.AddrFromSlice(address); ok {
		a.Endpoints = append(a.Endpoints, Endpoint{IP: ip.Unmap()})
	}
}

const (
	// maxTargets bounds the hosts that one service has.
	maxTargets = 200
	// targetsAtOnce bounds the hosts that are asked for at the same time.
	targetsAtOnce = 8
)

// service asks for the servers of a service, and for the addresses of each.
func (q *query) service(ctx context.Context, service string) (Answer, error) {
	found, err := first(q.client.names(service), func(name string) (records, error) {
		return q.client.ask(ctx, name, dns.TypeSRV)
	})
	if errors.Is(err, errNoAddress) {
		err = errors.New("the name has no SRV record")
	}
	if err != nil {
		return Answer{}, err
	}
	var targets []*dns.SRV
	for _, rr := range found.list {
		if srv, ok := rr.(*dns.SRV); ok && srv.Target != "." && srv.Port != 0 { // "." is no server at all
			targets = append(targets, srv)
		}
	}
	slices.SortFunc(targets, func(a, b *dns.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	a := Answer{TTL: found.ttl}
	if more := len(targets) - maxTargets; more > 0 {
		targets, a.Dropped = targets[:maxTargets], more
	}
	hosts, errs := make([]Answer, len(targets)), make([]error, len(targets))
	slots := make(chan struct{}, targetsAtOnce)
	var lookups sync.WaitGroup
	for i, srv := range targets {
		slots <- struct{}{}
		lookups.Go(func() {
			hosts[i], errs[i] = q.host(ctx, srv.Target, false)
			<-slots
		})
	}
	lookups.Wait()
	for i, srv := range targets {
		a.addTarget(srv, hosts[i], errs[i])
	}
	return a, nil
}

// addTarget adds what is known of one host of a service.
func (a *Answer) addTarget(srv *dns.SRV, host Answer, err error) {
	name := hostKey(srv.Target)
	if err != nil && !definite(err) {
		host.Failed, host.Err = []Part{{IPv6: false}, {IPv6: true}}, fmt.Errorf("host %s: %w", name, err)
	}
	if err == nil {
		a.TTL = min(a.TTL, host.TTL)
	}
	for _, p := range host.Failed {
		a.Failed = append(a.Failed, Part{Host: name, IPv6: p.IPv6})
		a.Err = host.Err
	}
	for _, e := range host.Endpoints {
		e.Host, e.Port, e.Priority, e.Weight = name, srv.Port, srv.Priority, srv.Weight
		a.Endpoints = append(a.Endpoints, e)
	}
}
