package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// client asks the name servers of a resolv.conf(5), one after the other.
type client struct {
	servers  []string
	names    func(host string) []string
	timeout  time.Duration
	attempts int
	sockets  chan struct{}
	// answered is the index of the server that has answered last. It is asked first: otherwise
	// each query would first wait for a dead one.
	answered *atomic.Int32
}

const (
	// maxUDP is the size of answers that EDNS announces: it fits into any path without
	// fragments (DNS flag day 2020).
	maxUDP = 1232
	// maxChain bounds the CNAMEs that lead to an answer.
	maxChain = 16
)

// records are the records of an answer, and how long they are valid.
type records struct {
	list []dns.RR
	ttl  time.Duration
}

// ask returns the records of one type. CNAMEs are followed, even across answers: a server need not
// have the other end in its own zones.
func (c *client) ask(ctx context.Context, name string, t uint16) (records, error) {
	ttl := uint32(maxTTL)
	for range maxChain {
		reply, err := c.exchange(ctx, name, t)
		if err != nil {
			return records{}, err
		}
		end, chainTTL, err := follow(reply.Answer, name, t)
		ttl = min(ttl, chainTTL)
		if err != nil {
			return records{}, err
		}
		var found []dns.RR
		for _, rr := range reply.Answer {
			if h := rr.Header(); h.Rrtype == t && h.Class == dns.ClassINET && strings.EqualFold(h.Name, end) {
				found = append(found, rr)
				ttl = min(ttl, h.Ttl)
			}
		}
		switch {
		case len(found) > 0:
			return records{list: found, ttl: time.Duration(ttl) * time.Second}, nil
		case reply.Rcode == dns.RcodeNameError:
			return records{}, errNoName
		case strings.EqualFold(end, name):
			return records{}, errNoAddress
		}
		name = end
	}
	return records{}, errChain
}

var errChain = errors.New("the CNAME records of the name form a loop, or a chain that is too long")

// follow returns the name at the end of the CNAMEs that begin at name, and their lowest TTL.
func follow(answer []dns.RR, name string, t uint16) (end string, ttl uint32, err error) {
	ttl = maxTTL
	for range maxChain {
		next := ""
		for _, rr := range answer {
			h := rr.Header()
			if h.Rrtype == t && strings.EqualFold(h.Name, name) {
				return name, ttl, nil
			}
			if alias, ok := rr.(*dns.CNAME); ok && strings.EqualFold(h.Name, name) {
				next = alias.Target
				ttl = min(ttl, h.Ttl)
			}
		}
		if next == "" {
			return name, ttl, nil
		}
		name = next
	}
	return "", 0, errChain
}

// exchange asks one server after the other, until one has answered.
func (c *client) exchange(ctx context.Context, name string, t uint16) (*dns.Msg, error) {
	var failed error
	for range c.attempts {
		first := int(c.answered.Load())
		for i := range c.servers {
			at := (first + i) % len(c.servers)
			server := c.servers[at]
			reply, err := c.exchangeWith(ctx, server, name, t)
			if err == nil {
				c.answered.Store(int32(at))
				return reply, nil
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			if failed == nil || ctx.Err() == nil {
				failed = fmt.Errorf("name server %s: %w", server, err)
			}
			if ctx.Err() != nil {
				return nil, failed
			}
		}
	}
	return nil, failed
}

// exchangeWith asks one server: over UDP and, if the answer does not fit, over TCP.
func (c *client) exchangeWith(ctx context.Context, server, name string, t uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, t)
	q.SetEdns0(maxUDP, false)
	reply, err := c.send(ctx, "udp", server, q)
	if err == nil && reply.Rcode == dns.RcodeFormatError {
		q.Extra = nil // a server that does not know EDNS (RFC 6891 section 7)
		reply, err = c.send(ctx, "udp", server, q)
	}
	if err == nil && reply.Truncated {
		reply, err = c.send(ctx, "tcp", server, q)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("it answered %s", dns.RcodeToString[reply.Rcode])
	case reply.Rcode == dns.RcodeSuccess && len(reply.Answer) == 0 && !reply.Authoritative && !reply.RecursionAvailable && len(reply.Ns) > 0:
		return nil, errors.New("it refers to other servers instead of asking them: name a recursive server in resolv.conf")
	}
	return reply, nil
}

// send makes one query, and waits for its answer. Datagrams that answer something else are skipped:
// they may be late, or forged, and the answer may still come.
func (c *client) send(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	select {
	case c.sockets <- struct{}{}:
		defer func() { <-c.sockets }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, plain(ctx, err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	conn := &dns.Conn{Conn: raw, UDPSize: dns.MaxMsgSize}
	if err := conn.WriteMsg(q); err != nil {
		return nil, plain(ctx, err)
	}
	for {
		reply, err := conn.ReadMsg()
		var broken net.Error
		switch {
		case err == nil && answers(reply, q):
			return reply, nil
		case err != nil && (network == "tcp" || errors.As(err, &broken)):
			return nil, plain(ctx, err)
		case network == "tcp":
			return nil, errors.New("its answer is to another question")
		}
	}
}

// answers reports whether a message is the answer to q: its number alone is easily guessed.
func answers(reply, q *dns.Msg) bool {
	if !reply.Response || reply.Id != q.Id || len(reply.Question) != 1 {
		return false
	}
	asked, got := q.Question[0], reply.Question[0]
	return asked.Qtype == got.Qtype && asked.Qclass == got.Qclass && strings.EqualFold(asked.Name, got.Name)
}

// plain is an error without the addresses that the log has anyway.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
